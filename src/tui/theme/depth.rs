//! How many colours a terminal has, and the nearest of them.

use ratatui::style::Color;

/// How many colours a terminal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 24 bits.
    True,
    /// The 256 colours of xterm.
    Indexed,
    /// The 16 that every terminal has.
    Basic,
}

/// Terminals with 24-bit colours that do not always say so in COLORTERM.
const TRUE_TERMS: [&str; 8] =
    ["direct", "kitty", "alacritty", "wezterm", "ghostty", "foot", "contour", "iterm"];

impl Depth {
    /// What the environment says of the terminal.
    pub fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Self {
        let colours = variable("COLORTERM").unwrap_or_default().to_lowercase();
        let term = variable("TERM").unwrap_or_default().to_lowercase();
        let is_true = colours == "truecolor"
            || colours == "24bit"
            || TRUE_TERMS.iter().any(|name| term.contains(name))
            || variable("WT_SESSION").is_some();
        match () {
            () if is_true => Depth::True,
            () if term.contains("256") => Depth::Indexed,
            () => Depth::Basic,
        }
    }

    /// The colour of this terminal that is nearest.
    pub fn nearest(self, colour: Color) -> Color {
        match (self, colour) {
            (Depth::Indexed, Color::Rgb(r, g, b)) => indexed([r, g, b]),
            (Depth::Basic, Color::Rgb(r, g, b)) => basic([r, g, b]),
            (Depth::Basic, Color::Indexed(index @ 16..)) => basic(rgb_of(index)),
            (_, colour) => colour,
        }
    }
}

/// The levels of a channel in the colour cube.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The colours 16 to 255 of xterm; the first 16 are whatever the user set.
fn rgb_of(index: u8) -> [u8; 3] {
    match index {
        232.. => [8 + 10 * (index - 232); 3],
        _ => {
            let index = usize::from(index.saturating_sub(16));
            [LEVELS[index / 36 % 6], LEVELS[index / 6 % 6], LEVELS[index % 6]]
        }
    }
}

/// Squared, weighted as eyes do.
fn distance(a: [u8; 3], b: [u8; 3]) -> i32 {
    let weights = [3, 6, 1];
    let parts = a.iter().zip(b).zip(weights);
    parts.map(|((a, b), weight)| weight * (i32::from(*a) - i32::from(b)).pow(2)).sum()
}

fn indexed(rgb: [u8; 3]) -> Color {
    let nearest = (16..=255).min_by_key(|index| distance(rgb_of(*index), rgb));
    Color::Indexed(nearest.unwrap_or(16))
}

/// By hue where there is one, else by lightness: the exact values are the terminal's own.
fn basic([r, g, b]: [u8; 3]) -> Color {
    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
    if high - low < 48 {
        return match high {
            0..=80 => Color::Black,
            81..=140 => Color::DarkGray,
            141..=215 => Color::Gray,
            216.. => Color::White,
        };
    }
    // a channel counts when it is in the upper half of the spread
    let middle = low + (high - low) / 2;
    let bright = low > 90 || high > 200 && low > 60;
    match (r > middle, g > middle, b > middle) {
        (true, false, false) if bright => Color::LightRed,
        (true, false, false) => Color::Red,
        (false, true, false) if bright => Color::LightGreen,
        (false, true, false) => Color::Green,
        (false, false, true) if bright => Color::LightBlue,
        (false, false, true) => Color::Blue,
        (true, true, false) if bright => Color::LightYellow,
        (true, true, false) => Color::Yellow,
        (true, false, true) if bright => Color::LightMagenta,
        (true, false, true) => Color::Magenta,
        (false, true, true) if bright => Color::LightCyan,
        (false, true, true) => Color::Cyan,
        (true, true, true) | (false, false, false) => Color::White,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::shipped;

    fn of(term: &str, colours: &str) -> Depth {
        Depth::of_terminal(|name| match name {
            "TERM" => Some(term.to_owned()),
            "COLORTERM" => Some(colours.to_owned()).filter(|colours| !colours.is_empty()),
            _ => None,
        })
    }

    #[test]
    fn the_environment_tells_how_many_colours_there_are() {
        assert_eq!(of("xterm-256color", "truecolor"), Depth::True);
        assert_eq!(of("xterm-kitty", ""), Depth::True);
        assert_eq!(of("tmux-256color", ""), Depth::Indexed);
        assert_eq!(of("linux", ""), Depth::Basic);
        assert_eq!(of("", ""), Depth::Basic);
    }

    #[test]
    fn colours_become_the_nearest_ones() {
        assert_eq!(Depth::True.nearest(Color::Rgb(1, 2, 3)), Color::Rgb(1, 2, 3));
        assert_eq!(Depth::Indexed.nearest(Color::Rgb(255, 0, 0)), Color::Indexed(196));
        assert_eq!(Depth::Indexed.nearest(Color::Rgb(8, 8, 8)), Color::Indexed(232));
        assert_eq!(Depth::Basic.nearest(Color::Rgb(200, 20, 20)), Color::Red);
        assert_eq!(Depth::Basic.nearest(Color::Indexed(46)), Color::Green);
        assert_eq!(Depth::Basic.nearest(Color::Cyan), Color::Cyan);
    }

    #[test]
    fn no_theme_has_a_colour_that_the_terminal_lacks_nor_text_on_itself() {
        for theme in shipped() {
            for depth in [Depth::Indexed, Depth::Basic] {
                let name = theme.name.clone();
                let mut theme = theme.clone().within(depth);
                let back = theme.roles.text.bg;
                for style in theme.roles.all_mut() {
                    let colours = [style.fg, style.bg].into_iter().flatten();
                    assert!(!colours.into_iter().any(|c| matches!(c, Color::Rgb(..))), "{name}");
                    let on = style.bg.or(back);
                    assert!(
                        style.fg.is_none() || style.fg != on || on == Some(Color::Reset),
                        "{name} {depth:?}"
                    );
                }
            }
        }
    }
}
