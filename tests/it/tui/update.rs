//! State changes: any keys at any size, and what each key is to do.

use std::time::{Duration, Instant};

use batchgen::bench::event::RunEvent;
use batchgen::provider::{Event, ListedModel, Stamped};
use batchgen::tui::app::{Effect, Exit, Overlay, Reply, Screen};
use batchgen::tui::form::{Field, Finding, ModelFacts, PromptTokens};
use batchgen::tui::update;
use crossterm::event::{
    Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent,
    MouseEventKind,
};
use proptest::prelude::*;

use super::fixture::{Bench, QUESTIONS, prompts};

#[test]
fn enter_on_the_first_screen_starts_the_run() {
    let mut bench = Bench::ready(80, 24);
    let effects = bench.key(KeyCode::Enter);
    let [Effect::Start(plan, prompts)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((plan.lanes.len(), prompts.prompts.len()), (3, QUESTIONS.len()));
}

#[test]
fn a_wrong_field_keeps_the_run_from_starting_and_gets_the_focus() {
    let mut bench = Bench::ready(80, 24);
    bench.app.form.set(Field::MaxTokens, "many");
    assert!(bench.press('r').is_empty());
    assert_eq!(bench.app.form.focus, Field::MaxTokens);
    let reason = bench.app.form.error(Field::MaxTokens);
    assert_eq!(reason.as_deref(), Some("max tokens \"many\" is not a whole number"));
}

#[test]
fn every_field_says_what_is_wrong_as_it_is_typed() {
    let mut bench = Bench::ready(80, 24);
    let cases = [
        (Field::Model, " ", "the model is empty: write a name, a folder or a file"),
        (Field::MaxTokens, "0", "max tokens is 0: it must be at least 1"),
        (Field::Temperature, "warm", "temperature \"warm\" is not a number"),
        (Field::Temperature, "-1", "temperature is -1: it must be between 0 and 100"),
        (Field::Seed, "-1", "the seed \"-1\" is not a whole number"),
        (Field::Repeats, "", "repeats is empty: write a whole number"),
        (Field::BatchSize, "0", "the batch size is 0: it must be at least 1"),
        (Field::Lanes, "", "there is no lane: write at least one, such as batched:16"),
    ];
    for (field, text, reason) in cases {
        bench.app.form.set(field, text);
        assert_eq!(bench.app.form.error(field).as_deref(), Some(reason));
    }
    bench.app.form.set(Field::Lanes, "sequential,sequential");
    let reason = bench.app.form.error(Field::Lanes).unwrap();
    assert!(reason.starts_with("two lanes are labelled \"sequential\""), "{reason}");
}

#[test]
fn the_batch_size_is_that_of_the_batched_lanes() {
    let mut bench = Bench::ready(80, 24);
    bench.app.form.set(Field::Lanes, "sequential,batched:16,mine=batched_async:4x2");
    bench.app.form.set(Field::BatchSize, "32");
    let lanes = bench.app.form.value(Field::Lanes);
    assert_eq!(lanes, "sequential,batched:32,mine=batched_async:32x2");
    assert_eq!(bench.app.form.value(Field::BatchSize), "32");
    assert_eq!(bench.app.form.first_error(), None);
    bench.app.form.set(Field::BatchSize, "2,4");
    assert_eq!(bench.app.form.value(Field::BatchSize), "2,4");
    bench.app.form.set(Field::BatchSize, "2,4,8");
    let reason = bench.app.form.error(Field::BatchSize).unwrap();
    assert!(reason.starts_with("there are 3 sizes and 2 batched lanes"), "{reason}");
    bench.app.form.set(Field::Lanes, "sequential");
    bench.app.form.set(Field::BatchSize, "");
    assert_eq!(bench.app.form.error(Field::BatchSize), None);
}

#[test]
fn what_was_typed_can_be_forgotten() {
    let mut bench = Bench::ready(80, 24);
    bench.app.form.focus = Field::Seed;
    bench.key(KeyCode::Enter);
    bench.press('7');
    assert_eq!(bench.app.form.value(Field::Seed), "07");
    // letters are text here, and no keys
    bench.press('q');
    assert_eq!(bench.app.exit, None);
    bench.key(KeyCode::Esc);
    assert_eq!(bench.app.form.value(Field::Seed), "0");
}

#[test]
fn an_empty_list_is_a_clear_no_op() {
    let mut bench = Bench::ready(80, 24);
    let query = bench.app.form.query().clone();
    bench.reply(Reply::Prompts(query, Ok(prompts(0))));
    assert!(bench.press('r').is_empty());
    let notice = bench.app.notices.most_urgent().unwrap();
    assert!(notice.text.contains("nothing to run"), "{}", notice.text);
}

#[test]
fn an_answer_that_came_too_late_is_dropped() {
    let mut bench = Bench::ready(80, 24);
    let old = bench.app.form.query().clone();
    bench.app.form.take_prompts("canary".into());
    bench.reply(Reply::Prompts(old, Ok(prompts(3))));
    assert_eq!(bench.app.form.prompts, Finding::Asked);
}

#[test]
fn escape_and_space_stop_a_run_without_asking() {
    for key in [KeyCode::Esc, KeyCode::Char(' ')] {
        let mut bench = Bench::half_way(80, 24);
        let effects = bench.key(key);
        assert!(matches!(effects[..], [Effect::Stop]), "{effects:?}");
        assert_eq!(bench.app.screen, Screen::Run);
    }
}

#[test]
fn quitting_asks_only_while_a_run_is_under_way() {
    let mut bench = Bench::half_way(80, 24);
    bench.press('q');
    assert_eq!(bench.app.exit, None);
    bench.press('n');
    assert!(bench.app.overlay.is_none());
    bench.press('q');
    bench.press('y');
    assert_eq!(bench.app.exit, Some(Exit::Quit));

    let mut bench = Bench::done(80, 24);
    bench.press('q');
    assert_eq!(bench.app.exit, Some(Exit::Quit));
}

#[test]
fn control_c_quits_from_anywhere() {
    let open: [fn(&mut Bench); 5] = [
        |_| {},
        |bench| drop(bench.press('?')),
        |bench| drop(bench.press('e')),
        |bench| drop(bench.press('!')),
        |bench| drop(bench.key(KeyCode::Enter)),
    ];
    for open in open {
        let mut bench = Bench::half_way(80, 24);
        open(&mut bench);
        let event = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let now = bench.app.now;
        update::terminal_event(&mut bench.app, TerminalEvent::Key(event), now);
        assert_eq!(bench.app.exit, Some(Exit::Signal(2)));
    }
}

#[test]
fn plus_and_minus_change_the_batch_size_of_a_running_batched_lane_only() {
    let mut bench = Bench::half_way(80, 24);
    assert!(bench.press('+').is_empty());
    let mut bench = Bench::started(80, 24, "batched:4", 8);
    bench.run(10, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    let asked = |bench: &mut Bench, key| match bench.press(key)[..] {
        [Effect::SetBatchSize(size)] => size,
        ref effects => panic!("{effects:?}"),
    };
    // keys count from what was asked for, not from what the run has told so far
    let sizes = ['+', '+', '-'].map(|key| asked(&mut bench, key));
    assert_eq!(sizes, [5, 6, 5]);
    bench.run(20, RunEvent::BatchSize(5));
    bench.run(30, RunEvent::BatchSize(1));
    assert_eq!(asked(&mut bench, '-'), 1);
}

#[test]
fn d_goes_to_the_next_difference_and_stays_where_there_is_none() {
    let mut bench = Bench::done(80, 24);
    bench.key(KeyCode::Home);
    bench.key(KeyCode::Enter);
    assert_eq!(bench.app.screen, Screen::Row);
    for _ in 0..2 {
        bench.press('d');
        assert_eq!(bench.app.session.as_ref().unwrap().row, 4);
    }
}

#[test]
fn the_table_follows_the_newest_row_until_one_is_selected() {
    let mut bench = Bench::started(80, 24, "sequential", 100);
    bench.run(0, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    let token = |row| Event::Tokens { row, count: 1, ids: Vec::new(), text: "a".into() };
    bench.provider(10, token(50));
    assert_eq!(bench.app.session.as_ref().unwrap().row, 50);
    bench.key(KeyCode::Up);
    bench.provider(20, token(60));
    assert_eq!(bench.app.session.as_ref().unwrap().row, 49);
    bench.press('f');
    assert_eq!(bench.app.session.as_ref().unwrap().row, 60);
}

#[test]
fn a_report_is_written_where_the_path_says_and_only_with_a_known_extension() {
    let mut bench = Bench::done(80, 24);
    bench.press('e');
    let ctrl_u = KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL);
    let now = bench.app.now;
    update::terminal_event(&mut bench.app, TerminalEvent::Key(ctrl_u), now);
    update::terminal_event(&mut bench.app, TerminalEvent::Paste("out.pdf\n".into()), now);
    assert!(bench.key(KeyCode::Enter).is_empty());
    assert!(bench.screen().contains("the name must end in .json, .csv, .md or .html"));
    for _ in 0..3 {
        bench.key(KeyCode::Backspace);
    }
    for c in "csv".chars() {
        bench.press(c);
    }
    let effects = bench.key(KeyCode::Enter);
    let [Effect::Export(request)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(request.path.to_string_lossy(), "/home/someone/out.csv");
    assert!(!request.replace);
    bench.reply(Reply::ExportExists);
    let effects = bench.key(KeyCode::Enter);
    let [Effect::Export(request)] = &effects[..] else { panic!("{effects:?}") };
    assert!(request.replace);
    bench.reply(Reply::ExportFailed("disk full".into()));
    assert!(bench.screen().contains("✗ disk full"));
}

#[test]
fn a_run_that_breaks_off_is_said() {
    let mut bench = Bench::half_way(80, 24);
    update::run_closed(&mut bench.app);
    assert!(bench.screen().contains("the run broke off"), "{}", bench.screen());
}

#[test]
fn notices_stay_until_they_were_read() {
    let mut bench = Bench::half_way(80, 24);
    update::panicked(&mut bench.app, "a defect: thread engine panicked".into());
    assert!(bench.screen().contains("a defect: thread engine panicked"));
    bench.press('!');
    assert!(matches!(bench.app.overlay, Some(Overlay::Notices { .. })));
    bench.key(KeyCode::Esc);
    assert!(!bench.screen().contains("a defect"));
}

#[test]
fn a_click_chooses_a_lane_and_a_row() {
    let mut bench = Bench::done(120, 40);
    let click = |column, row| {
        TerminalEvent::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column,
            row,
            modifiers: KeyModifiers::NONE,
        })
    };
    let now = bench.app.now;
    update::terminal_event(&mut bench.app, click(60, 5), now);
    assert_eq!(bench.app.session.as_ref().unwrap().lane, 1);
    let line = bench.screen().lines().position(|line| line.contains("capital of France")).unwrap();
    update::terminal_event(&mut bench.app, click(20, line as u16), now);
    assert_eq!(bench.app.session.as_ref().unwrap().row, 1);
}

#[test]
fn a_list_of_100_000_rows_draws_as_fast_as_a_short_one_where_nothing_is_new() {
    let mut bench = Bench::started(120, 40, "sequential,batched:16", 100_000);
    bench.run(0, RunEvent::LaneStarted { lane: 0, repeat: 0 });
    for row in 0..1000 {
        bench.provider(row as u64, Event::Submitted { row });
    }
    bench.at(2_000);
    bench.key(KeyCode::End);
    bench.key(KeyCode::Up);
    // the figures are fresh, so only the visible rows cost anything: 100 frames of them are
    // far below a second, while 100 passes over all rows would not be
    let start = Instant::now();
    for _ in 0..100 {
        bench.at(2_010);
        bench.screen();
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

fn any_key() -> impl Strategy<Value = TerminalEvent> {
    let code = prop_oneof![
        any::<char>().prop_map(KeyCode::Char),
        proptest::sample::select(vec![
            'r', 'q', 'n', '?', '!', 'e', 'd', 'D', 'j', 'k', 'f', 'T', '+', '-', ' ', 'p', 'g',
            'G', 'l', '/', '9', 's', 'm', 'H', 'c', ':', 'v', 'F', 'N', 'y'
        ])
        .prop_map(KeyCode::Char),
        proptest::sample::select(vec![
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Tab,
            KeyCode::BackTab,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::Left,
            KeyCode::Right,
            KeyCode::PageUp,
            KeyCode::PageDown,
            KeyCode::Home,
            KeyCode::End,
            KeyCode::Backspace,
            KeyCode::Delete,
            KeyCode::F(5),
        ]),
    ];
    let key = code.prop_map(|code| TerminalEvent::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    let mouse = (0u16..200, 0u16..60, 0usize..3).prop_map(|(column, row, kind)| {
        let kinds = [
            MouseEventKind::Down(MouseButton::Left),
            MouseEventKind::ScrollUp,
            MouseEventKind::ScrollDown,
        ];
        let modifiers = KeyModifiers::NONE;
        TerminalEvent::Mouse(MouseEvent { kind: kinds[kind], column, row, modifiers })
    });
    let size = (0u16..200, 0u16..60).prop_map(|(w, h)| TerminalEvent::Resize(w, h));
    let paste = any::<String>().prop_map(TerminalEvent::Paste);
    prop_oneof![12 => key, 2 => mouse, 1 => size, 1 => paste]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_keys_at_any_size_panic(events in proptest::collection::vec(any_key(), 0..60), stage in 0usize..6) {
        let mut bench = match stage {
            0 => Bench::opened(80, 24),
            1 => Bench::ready(61, 17),
            2 => Bench::half_way(80, 24),
            3 => Bench::sweep(80, 24, 3),
            4 => Bench::sweep(120, 40, 5),
            _ => Bench::done(120, 40),
        };
        for event in events {
            let now = bench.app.now;
            let effects = update::terminal_event(&mut bench.app, event, now);
            for effect in effects {
                if let Effect::ReadFolder(folder) = effect {
                    bench.reply(Reply::Folder(folder, Ok(Vec::new())));
                }
            }
            bench.at(20_000);
            bench.screen();
        }
    }

    #[test]
    fn no_size_panics(width in 1u16..=130, height in 1u16..=45) {
        let sweep = |width, height| Bench::sweep(width, height, 4);
        for make in [Bench::ready, Bench::half_way, Bench::done, sweep] {
            let mut bench = make(width, height);
            bench.screen();
            for keys in [vec!['?'], vec!['?', '/', 'a'], vec!['e'], vec!['!'], vec!['T'], vec![':', 'a'], vec!['/'], vec!['v'], vec!['F', 'F'], vec!['s'], vec!['H'], vec!['q']] {
                for key in keys {
                    bench.press(key);
                }
                bench.screen();
                bench.key(KeyCode::Esc);
            }
            bench.key(KeyCode::Enter);
            bench.screen();
        }
    }

    #[test]
    fn no_stream_of_events_panics_the_screen(
        events in proptest::collection::vec((0u8..8, 0usize..12, any::<String>()), 0..40),
    ) {
        let mut bench = Bench::started(80, 24, "sequential,batched:4", 8);
        for (place, (kind, row, text)) in events.into_iter().enumerate() {
            let event = match kind {
                0 => RunEvent::Preparing(text),
                1 => RunEvent::LaneStarted { lane: row % 2, repeat: 0 },
                2 => RunEvent::Provider(Event::Submitted { row }),
                3 => RunEvent::Provider(Event::Notice(text)),
                4 => RunEvent::BatchSize(row),
                5 => RunEvent::LaneFinished { failure: None },
                6 => RunEvent::RunFinished,
                _ => RunEvent::Provider(Event::Tokens { row, count: 1, ids: Vec::new(), text }),
            };
            let at = bench.epoch + Duration::from_millis(place as u64 * 7);
            update::run_event(&mut bench.app, Stamped { at, event });
            bench.at(place as u64 * 300);
            bench.screen();
        }
    }
}

#[test]
fn the_tiniest_windows_never_panic() {
    for width in 1..=12 {
        for height in 1..=6 {
            Bench::half_way(width, height).screen();
        }
    }
    for (width, height) in [(59, 16), (60, 15), (60, 16), (1, 200), (200, 1)] {
        Bench::done(width, height).screen();
    }
}

#[test]
fn tokens_are_counted_anew_when_the_template_is_left_out_and_old_counts_are_dropped() {
    let mut bench = Bench::ready(120, 40);
    assert_eq!(bench.app.form.counts().map(PromptTokens::total), Some(436));
    let old = bench.app.form.token_query().unwrap();
    bench.app.form.focus = Field::Raw;
    let effects = bench.key(KeyCode::Right);
    let [Effect::CountTokens(query)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(query.raw);
    assert_eq!(bench.app.form.counts(), None);
    bench.reply(Reply::Tokens(old, Some(PromptTokens { rows: vec![Some(1); 8] })));
    assert_eq!(bench.app.form.counts(), None);
    bench.reply(Reply::Tokens(query.clone(), Some(PromptTokens { rows: vec![None; 8] })));
    assert_eq!(bench.app.form.counts().map(PromptTokens::total), Some(0));
}

/// What a hostile model or file name may hold.
const HOSTILE: [&str; 6] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m",
    "\u{202e}reversed\u{2066}",
    "z\u{200b}e\u{200d}r\u{feff}o\u{34f}",
    "a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}b",
    "\r\n\t\u{8}\u{7f}\u{0}",
    "日本語🇫🇷👩‍👩‍👧",
];

#[test]
fn hostile_text_neither_breaks_the_layout_nor_reaches_the_terminal() {
    for hostile in HOSTILE {
        let mut bench = Bench::started(80, 24, "sequential,batched:2", 3);
        let mut info = super::fixture::info();
        info.model = hostile.to_owned();
        info.device = hostile.to_owned();
        for lane in 0..2 {
            bench.run(10, RunEvent::ProviderReady { lane, info: info.clone() });
            bench.run(20, RunEvent::LaneStarted { lane, repeat: 0 });
            let text = format!("{hostile} lane {lane}");
            bench.provider(30, Event::Tokens { row: 0, count: 1, ids: vec![], text });
            bench.provider(40, Event::Notice(hostile.into()));
            let usage = batchgen::provider::Usage::default();
            let reason = batchgen::provider::FinishReason::Other(hostile.into());
            bench.provider(50, Event::Finished { row: 0, usage, reason });
            bench.run(60, RunEvent::LaneFinished { failure: None });
        }
        bench.run(70, RunEvent::Preparing(hostile.into()));
        bench.at(1_000);
        for keys in ["", "\r", "!", "F", "v"] {
            for key in keys.chars() {
                if key == '\r' {
                    bench.key(KeyCode::Enter)
                } else {
                    bench.press(key)
                };
            }
            bench.at(1_500);
            let screen = bench.screen();
            let harmful = |c: char| {
                c.is_control() && c != '\n'
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
            };
            assert!(!screen.chars().any(harmful), "{hostile:?}\n{screen}");
            let borders = screen.lines().filter(|line| line.starts_with('│'));
            for line in borders {
                use unicode_width::UnicodeWidthStr;
                assert_eq!(line.width(), 80, "{hostile:?} {keys:?}\n{screen}");
            }
            bench.key(KeyCode::Esc);
        }
    }
}

#[test]
fn ten_megabytes_without_a_space_are_looked_at_without_waiting() {
    let mut bench = Bench::started(120, 40, "sequential,batched:2", 2);
    for lane in 0..2 {
        bench.run(20, RunEvent::LaneStarted { lane, repeat: 0 });
        let text = "x".repeat(10_000_000) + if lane == 0 { "a" } else { "b" };
        bench.provider(30, Event::Tokens { row: 0, count: 1, ids: vec![], text });
        let usage = batchgen::provider::Usage::default();
        let reason = batchgen::provider::FinishReason::Length;
        bench.provider(50, Event::Finished { row: 0, usage, reason });
        bench.run(60, RunEvent::LaneFinished { failure: None });
    }
    bench.at(100);
    bench.key(KeyCode::Home);
    bench.key(KeyCode::Enter);
    bench.at(400);
    assert!(bench.screen().contains("xxxx"));
    bench.press('y');
    assert!(bench.screen().contains("more than a terminal's clipboard takes"));
}

#[test]
fn a_server_has_an_address_and_a_key_and_a_local_model_has_neither() {
    let mut bench = Bench::ready(120, 40);
    let local = bench.app.form.provider();
    assert!(!bench.app.form.fields().contains(&Field::Address));
    bench.app.form.focus = Field::Provider;
    let effects = bench.key(KeyCode::Right);
    let [Effect::LookAtModel(spec), Effect::ListModels(_)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!((spec.provider.as_str(), spec.model.as_str()), ("openai", ""));
    bench.app.form.set(Field::Address, " http://127.0.0.1:8080 ");
    bench.app.form.set(Field::KeyFrom, "MY_KEY");
    let spec = bench.app.form.provider();
    assert_eq!(spec.base_url.as_deref(), Some("http://127.0.0.1:8080"));
    assert_eq!(spec.api_key_env.as_deref(), Some("MY_KEY"));
    assert_eq!(bench.app.form.plan().unwrap().provider, spec);
    bench.app.form.focus = Field::Provider;
    bench.key(KeyCode::Left);
    assert_eq!(bench.app.form.provider(), local);
}

#[test]
fn a_key_typed_where_its_variable_belongs_is_refused_and_not_repeated() {
    let mut bench = Bench::ready(120, 40);
    bench.app.form.focus = Field::Provider;
    bench.key(KeyCode::Right);
    for key in ["sk-proj-abcDEF123", "hf_abcdefghijklmnopqrstuvwxyz12345678", "1KEY", "a b"] {
        bench.app.form.set(Field::KeyFrom, key);
        let reason = bench.app.form.error(Field::KeyFrom).unwrap();
        assert!(!reason.contains(key), "{reason}");
        assert!(bench.app.form.plan().is_err());
    }
    bench.app.form.set(Field::KeyFrom, "OPENAI_API_KEY");
    assert_eq!(bench.app.form.error(Field::KeyFrom), None);
}

/// Setup with the second provider, `openai`, chosen.
fn on_a_server() -> Bench {
    let mut bench = Bench::ready(120, 40);
    bench.app.form.focus = Field::Provider;
    bench.key(KeyCode::Right);
    bench
}

#[test]
fn limits_and_headers_of_a_server_reach_the_plan_and_wrong_ones_are_told() {
    let mut bench = on_a_server();
    assert!(!bench.app.form.fields().contains(&Field::Python));
    let form = &mut bench.app.form;
    form.set(Field::RequestsPerMinute, "60");
    form.set(Field::TokensPerMinute, "9000");
    form.set(Field::Headers, "X-Team=TEAM_VAR, X-B=OTHER");
    let server = form.plan().unwrap().provider.server;
    assert_eq!((server.requests_per_minute, server.tokens_per_minute), (Some(60), Some(9000)));
    assert_eq!(server.header_env["X-Team"], "TEAM_VAR");
    assert_eq!(server.header_env.len(), 2);
    for (field, text) in [
        (Field::RequestsPerMinute, "0"),
        (Field::TokensPerMinute, "many"),
        (Field::Headers, "X-Team"),
        (Field::Headers, "X Team=VAR"),
        (Field::Headers, "X-Team=sk-proj-abcDEF123"),
    ] {
        let mut form = on_a_server().app.form;
        form.set(field, text);
        let reason = form.error(field).unwrap_or_else(|| panic!("{field:?} {text}"));
        assert!(!reason.contains("sk-proj"), "{reason}");
        assert_eq!(form.plan().unwrap_err().0, field);
    }
}

#[test]
fn only_mlx_has_a_python() {
    let mut bench = Bench::ready(120, 40);
    bench.app.form.providers.push("mlx".into());
    bench.app.form.focus = Field::Provider;
    bench.key(KeyCode::Left);
    assert_eq!(bench.app.form.provider().provider, "mlx");
    assert!(!bench.app.form.fields().contains(&Field::Address));
    bench.app.form.set(Field::Python, " /opt/env ");
    assert_eq!(bench.app.form.provider().python.as_deref(), Some("/opt/env"));
}

#[test]
fn a_model_is_chosen_among_those_that_the_server_lists() {
    let mut bench = on_a_server();
    let spec = bench.app.form.provider();
    let model = |name: &str| ListedModel { name: name.into(), facts: vec!["context 4096".into()] };
    bench.reply(Reply::Models(spec, Ok(vec![model("first"), model("second")])));
    bench.app.form.focus = Field::Model;
    assert!(bench.screen().contains("first  context 4096"), "{}", bench.screen());
    let effects = bench.key(KeyCode::Right);
    assert!(matches!(effects[0], Effect::LookAtModel(_)), "{effects:?}");
    assert_eq!(bench.app.form.provider().model, "first");
    bench.key(KeyCode::Right);
    assert_eq!(bench.app.form.provider().model, "second");
    bench.app.form.focus = Field::Provider;
    bench.key(KeyCode::Left);
    assert!(bench.app.form.models.is_empty(), "another provider lists other models");
}

#[test]
fn a_server_that_is_not_ready_is_asked_again_while_somebody_looks() {
    let mut bench = on_a_server();
    let spec = bench.app.form.provider();
    let not_ready = || Reply::NotReady(spec.clone(), "it is loading".into());
    let effects = bench.effects(not_ready());
    assert!(matches!(&effects[..], [Effect::LookAgain(of)] if *of == spec), "{effects:?}");
    assert_eq!(bench.app.form.model, Finding::Failed("it is loading".into()));
    bench.app.screen = Screen::History;
    assert!(bench.effects(not_ready()).is_empty());
    let facts = ModelFacts { here: true, lines: vec!["ready".into()] };
    bench.effects(Reply::Model(spec.clone(), Ok(facts.clone())));
    assert_eq!(bench.app.form.model, Finding::Known(facts));
}

#[test]
fn a_lane_is_given_a_server_of_its_own() {
    let mut bench = Bench::ready(120, 40);
    let written = "local=batched:16,server=async:8@openai base_url=http://127.0.0.1:8080";
    bench.app.form.set(Field::Lanes, written);
    let plan = bench.app.form.plan().unwrap();
    assert_eq!(plan.provider_of(0).provider, "local");
    let own = plan.provider_of(1);
    assert_eq!((own.provider.as_str(), own.model.as_str()), ("openai", ""));
    assert_eq!(own.base_url.as_deref(), Some("http://127.0.0.1:8080"));
    bench.app.form.focus = Field::Lanes;
    let text = bench.screen();
    assert!(text.contains("on openai its first model at"), "{text}");
    bench.app.form.set(Field::BatchSize, "4");
    let lanes = bench.app.form.value(Field::Lanes);
    assert_eq!(lanes, written.replace("16", "4"));
    bench.app.form.set(Field::Lanes, "local=batched:16,server=async:8");
    assert_eq!(bench.app.form.plan().unwrap().provider_of(1).provider, "local");
    bench.app.form.set(Field::Lanes, "async:8@openai frob=1");
    let reason = bench.app.form.error(Field::Lanes).unwrap();
    assert!(reason.contains("no \"frob\""), "{reason}");
}
