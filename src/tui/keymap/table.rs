//! The table of all keys.

use std::borrow::Cow;

use crossterm::event::KeyCode;

use super::Place::{
    self, Deleting, Export, Field, Help, HelpSearch, History, Notices, Palette, Picker, Quitting,
    Reading, Row, Run, Search, Setup, Sizes, Sweep, Themes,
};
use super::{Action, Binding, Key, When};

const fn char(c: char) -> Key {
    Key::Plain(KeyCode::Char(c))
}

const UP: Key = Key::Plain(KeyCode::Up);
const DOWN: Key = Key::Plain(KeyCode::Down);
const LEFT: Key = Key::Plain(KeyCode::Left);
const RIGHT: Key = Key::Plain(KeyCode::Right);
const PAGE_UP: Key = Key::Plain(KeyCode::PageUp);
const PAGE_DOWN: Key = Key::Plain(KeyCode::PageDown);
const HOME: Key = Key::Plain(KeyCode::Home);
const END: Key = Key::Plain(KeyCode::End);
const ENTER: Key = Key::Plain(KeyCode::Enter);
const ESC: Key = Key::Plain(KeyCode::Esc);
const TAB: Key = Key::Plain(KeyCode::Tab);
const BACK_TAB: Key = Key::Plain(KeyCode::BackTab);
const BACKSPACE: Key = Key::Plain(KeyCode::Backspace);
const DELETE: Key = Key::Plain(KeyCode::Delete);

const SCREENS: &[Place] = &[Setup, Run, Row, Sweep, History];
const TEXTS: &[Place] = &[Field, Picker, Sizes, Export, Search, Palette, HelpSearch];

/// Shortens the table below: action, keys, footer label, help, places, condition.
const fn bind(
    action: Action,
    keys: &'static [Key],
    (label, help): (&'static str, &'static str),
    (places, when): (&'static [Place], When),
) -> Binding {
    let (keys, places) = (Cow::Borrowed(keys), Cow::Borrowed(places));
    Binding { keys, action, label, help, places, when }
}

/// The table. Within a place the order is that of the footer.
pub static TABLE: &[Binding] = &[
    bind(
        Action::Start,
        &[char('r')],
        ("run", "start the run that is described"),
        (&[Setup], When::Idle),
    ),
    bind(Action::ShowRun, &[ESC], ("back to the run", "back to the run"), (&[Setup], When::HasRun)),
    bind(
        Action::Stop,
        &[char(' '), ESC],
        ("stop", "stop the run; what was finished is kept"),
        (&[Run, Sweep], When::Running),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("take the size", "take the chosen batch size to Setup"),
        (&[Sweep], When::Always),
    ),
    bind(
        Action::Start,
        &[char('r')],
        ("run again", "run the same again"),
        (&[Run, Sweep], When::Idle),
    ),
    bind(Action::Back, &[ESC], ("setup", "back to Setup"), (&[Run, Sweep], When::Idle)),
    bind(
        Action::NextLimit,
        &[char('m')],
        ("limit", "limit memory, then TTFT p95, then nothing"),
        (&[Sweep], When::Always),
    ),
    bind(
        Action::RaiseLimit,
        &[UP, char('+'), char('='), char('k')],
        ("raise", "a higher limit"),
        (&[Sweep], When::Always),
    ),
    bind(
        Action::LowerLimit,
        &[DOWN, char('-'), char('_'), char('j')],
        ("lower", "a lower limit"),
        (&[Sweep], When::Always),
    ),
    bind(Action::Less, &[LEFT, char('h')], ("", "the smaller size"), (&[Sweep], When::Always)),
    bind(Action::More, &[RIGHT, char('l')], ("size", "the larger size"), (&[Sweep], When::Always)),
    bind(
        Action::ShowLanes,
        &[TAB],
        ("lanes", "the lanes of the sweep, as of any run"),
        (&[Sweep], When::Always),
    ),
    bind(
        Action::RaiseBatch,
        &[char('+'), char('=')],
        ("larger batch", "a larger batch, at the next refill"),
        (&[Run], When::Batching),
    ),
    bind(
        Action::LowerBatch,
        &[char('-'), char('_')],
        ("smaller", "a smaller batch, at the next refill"),
        (&[Run], When::Batching),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("change", "change the field, or start the run"),
        (&[Setup], When::Always),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("open row", "open the row: all outputs side by side"),
        (&[Run], When::Always),
    ),
    bind(
        Action::Less,
        &[LEFT, char('h')],
        ("", "the previous choice, or a smaller number"),
        (&[Setup], When::Always),
    ),
    bind(
        Action::More,
        &[RIGHT, char('l')],
        ("", "the next choice, or a larger number"),
        (&[Setup], When::Always),
    ),
    bind(Action::NextPreset, &[char('p')], ("preset", "the next preset"), (&[Setup], When::Always)),
    bind(
        Action::Sweep,
        &[char('s')],
        ("sweep", "try several batch sizes and find the best"),
        (&[Setup, Sweep], When::Idle),
    ),
    bind(
        Action::Sweep,
        &[char('s')],
        ("sweep", "try several batch sizes, or back to the sweep"),
        (&[Run], When::CanSweep),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("open", "open the run as it was"),
        (&[History], When::Always),
    ),
    bind(Action::Mark, &[char(' ')], ("mark", "mark for comparing"), (&[History], When::Always)),
    bind(
        Action::Compare,
        &[char('c')],
        ("compare", "compare the marked runs, two or more"),
        (&[History], When::Always),
    ),
    bind(
        Action::Compare,
        &[char('c')],
        ("compare", "compare with past runs"),
        (&[Run, Sweep], When::Idle),
    ),
    bind(
        Action::Replay,
        &[char('p')],
        ("replay", "play the run again at its own speed"),
        (&[History], When::Idle),
    ),
    bind(
        Action::Delete,
        &[char('d'), DELETE],
        ("delete", "delete the marked runs, or this one; asks first"),
        (&[History], When::Always),
    ),
    bind(Action::Back, &[ESC], ("back", "back"), (&[History], When::Always)),
    bind(
        Action::History,
        &[char('H')],
        ("history", "past runs: open, compare, replay, delete"),
        (&[Setup, Run, Sweep], When::Always),
    ),
    bind(Action::NextRow, &[char('j')], ("next row", "the next row"), (&[Row], When::Always)),
    bind(
        Action::PreviousRow,
        &[char('k')],
        ("row before", "the row before"),
        (&[Row], When::Always),
    ),
    bind(
        Action::NextDivergence,
        &[char('d')],
        ("next difference", "the next row whose outputs differ"),
        (&[Row], When::Always),
    ),
    bind(
        Action::PreviousDivergence,
        &[char('D')],
        ("", "the row before whose outputs differ"),
        (&[Row], When::Always),
    ),
    bind(
        Action::Back,
        &[ESC, ENTER, BACKSPACE],
        ("back", "back to the run"),
        (&[Row], When::Always),
    ),
    bind(Action::Up, &[UP, char('k'), BACK_TAB], ("", "the field above"), (&[Setup], When::Always)),
    bind(Action::Down, &[DOWN, char('j'), TAB], ("", "the field below"), (&[Setup], When::Always)),
    bind(Action::Up, &[UP, char('k')], ("", "one row up"), (&[Run, History], When::Always)),
    bind(Action::Down, &[DOWN, char('j')], ("", "one row down"), (&[Run, History], When::Always)),
    bind(Action::Up, &[UP], ("", "scroll up"), (&[Row], When::Always)),
    bind(Action::Down, &[DOWN], ("", "scroll down"), (&[Row], When::Always)),
    bind(Action::Up, &[UP], ("", "one up"), (&[Picker, Palette], When::Always)),
    bind(Action::Down, &[DOWN], ("", "one down"), (&[Picker, Palette], When::Always)),
    bind(
        Action::Up,
        &[UP, char('k')],
        ("", "scroll up"),
        (&[Help, Notices, Reading], When::Always),
    ),
    bind(
        Action::Down,
        &[DOWN, char('j')],
        ("scroll", "scroll down"),
        (&[Help, Notices, Reading], When::Always),
    ),
    bind(Action::Less, &[LEFT, char('h')], ("", "scroll to the left"), (&[Reading], When::Always)),
    bind(
        Action::More,
        &[RIGHT, char('l')],
        ("across", "scroll to the right"),
        (&[Reading], When::Always),
    ),
    bind(
        Action::PageUp,
        &[PAGE_UP],
        ("", "one page up"),
        (&[Run, Row, History, Picker, Palette, Help, Notices, Reading], When::Always),
    ),
    bind(
        Action::PageDown,
        &[PAGE_DOWN],
        ("", "one page down"),
        (&[Run, Row, History, Picker, Palette, Help, Notices, Reading], When::Always),
    ),
    bind(
        Action::First,
        &[HOME, char('g')],
        ("", "to the first"),
        (&[Setup, Run, Row, History, Help, Notices, Reading], When::Always),
    ),
    bind(
        Action::Last,
        &[END, char('G')],
        ("", "to the last"),
        (&[Setup, Run, Row, History, Help, Notices, Reading], When::Always),
    ),
    bind(Action::NextLane, &[TAB, RIGHT], ("lane", "the next lane"), (&[Run, Row], When::Always)),
    bind(
        Action::PreviousLane,
        &[BACK_TAB, LEFT],
        ("", "the lane before"),
        (&[Run, Row], When::Always),
    ),
    bind(
        Action::Copy,
        &[char('y')],
        ("copy", "copy the output of the lane in focus to the clipboard"),
        (&[Row], When::Always),
    ),
    bind(
        Action::Search,
        &[char('/')],
        ("search", "look for a text in prompts and outputs"),
        (&[Run, Row], When::Always),
    ),
    bind(
        Action::NextFound,
        &[char('n')],
        ("next found", "the next row with the text that is looked for"),
        (&[Run, Row], When::Searching),
    ),
    bind(
        Action::PreviousFound,
        &[char('N')],
        ("", "the row before with the text that is looked for"),
        (&[Run, Row], When::Searching),
    ),
    bind(
        Action::NextFilter,
        &[char('F')],
        ("filter", "show all rows, the failed, the diverged, the longest first"),
        (&[Run], When::Always),
    ),
    bind(
        Action::NextCharts,
        &[char('v')],
        ("charts", "throughput and memory, or TTFT and occupancy"),
        (&[Run], When::Always),
    ),
    bind(
        Action::Follow,
        &[char('f')],
        ("follow", "follow the newest row"),
        (&[Run], When::Running),
    ),
    bind(
        Action::Export,
        &[char('e')],
        ("export", "write the report to a file"),
        (&[Run, Row, Sweep], When::Always),
    ),
    bind(
        Action::Activate,
        &[ENTER],
        ("open", "take the list, or open the folder"),
        (&[Picker], When::Always),
    ),
    bind(
        Action::TakeFolder,
        &[TAB],
        ("take this folder", "take the text files of this folder as the list"),
        (&[Picker], When::Always),
    ),
    bind(Action::Accept, &[ENTER], ("accept", "accept"), (&[Field], When::Always)),
    bind(Action::Accept, &[ENTER], ("write", "write the report"), (&[Export], When::Always)),
    bind(Action::Discard, &[ESC], ("leave as it was", "leave as it was"), (&[Field], When::Always)),
    bind(Action::Accept, &[ENTER], ("start", "start the sweep"), (&[Sizes], When::Always)),
    bind(Action::Accept, &[ENTER], ("find", "go to the next place"), (&[Search], When::Always)),
    bind(
        Action::Accept,
        &[ENTER],
        ("keep", "keep the theme, also for the next time"),
        (&[Themes], When::Always),
    ),
    bind(
        Action::Discard,
        &[ESC, char('q')],
        ("back", "back to the theme before"),
        (&[Themes], When::Always),
    ),
    bind(Action::Up, &[UP, char('k')], ("", "the theme before"), (&[Themes], When::Always)),
    bind(
        Action::Down,
        &[DOWN, char('j'), char('T')],
        ("next", "the next theme"),
        (&[Themes], When::Always),
    ),
    bind(Action::Accept, &[ENTER], ("do it", "do what is chosen"), (&[Palette], When::Always)),
    bind(Action::Accept, &[ENTER], ("show", "show what was found"), (&[HelpSearch], When::Always)),
    bind(
        Action::Discard,
        &[ESC],
        ("close", "close"),
        (&[Picker, Sizes, Export, Search, Palette], When::Always),
    ),
    bind(
        Action::Discard,
        &[ESC],
        ("all keys", "show all keys again"),
        (&[HelpSearch], When::Always),
    ),
    bind(Action::CursorLeft, &[LEFT], ("", "one character left"), (TEXTS, When::Always)),
    bind(Action::CursorRight, &[RIGHT], ("", "one character right"), (TEXTS, When::Always)),
    bind(
        Action::CursorHome,
        &[HOME, Key::Ctrl('a')],
        ("", "to the start of the text"),
        (TEXTS, When::Always),
    ),
    bind(
        Action::CursorEnd,
        &[END, Key::Ctrl('e')],
        ("", "to the end of the text"),
        (TEXTS, When::Always),
    ),
    bind(
        Action::DeleteBack,
        &[BACKSPACE, Key::Ctrl('h')],
        ("", "delete before the cursor"),
        (TEXTS, When::Always),
    ),
    bind(Action::DeleteForward, &[DELETE], ("", "delete under the cursor"), (TEXTS, When::Always)),
    bind(
        Action::DeleteAll,
        &[Key::Ctrl('u')],
        ("empty", "delete the whole text"),
        (TEXTS, When::Always),
    ),
    bind(
        Action::Confirm,
        &[char('y'), ENTER],
        ("stop and quit", "stop the run and quit"),
        (&[Quitting], When::Always),
    ),
    bind(Action::Confirm, &[char('y')], ("delete", "delete for good"), (&[Deleting], When::Always)),
    bind(
        Action::Decline,
        &[char('n'), ESC],
        ("keep", "do nothing of it"),
        (&[Quitting, Deleting], When::Always),
    ),
    bind(Action::Back, &[ESC, char('q'), ENTER], ("close", "close"), (&[Reading], When::Always)),
    bind(
        Action::Search,
        &[char('/')],
        ("search", "look for a key by what it does"),
        (&[Help], When::Always),
    ),
    bind(
        Action::Back,
        &[ESC, char('q'), char('?'), ENTER],
        ("close", "close"),
        (&[Help], When::Always),
    ),
    bind(
        Action::Back,
        &[ESC, char('q'), char('!'), ENTER],
        ("close", "close"),
        (&[Notices], When::Always),
    ),
    bind(
        Action::Themes,
        &[char('T')],
        ("theme", "all themes, seen as they are chosen"),
        (SCREENS, When::Always),
    ),
    bind(
        Action::Palette,
        &[char(':')],
        ("", "everything that can be done here, by name"),
        (SCREENS, When::Always),
    ),
    bind(Action::Notices, &[char('!')], ("", "all notices"), (SCREENS, When::Always)),
    bind(Action::Help, &[char('?')], ("help", "all keys"), (SCREENS, When::Always)),
    bind(
        Action::Quit,
        &[char('q')],
        ("quit", "quit; asks while a run is under way"),
        (SCREENS, When::Always),
    ),
    bind(
        Action::Suspend,
        &[Key::Ctrl('z')],
        ("", "suspend; the shell's fg comes back here"),
        (&Place::ALL, When::Always),
    ),
    bind(
        Action::QuitNow,
        &[Key::Ctrl('c')],
        ("", "quit at once, from anywhere"),
        (&Place::ALL, When::Always),
    ),
];
