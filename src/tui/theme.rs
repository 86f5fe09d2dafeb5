//! Colours by role. A theme is a TOML file that gives a style to each role; views name roles
//! and never colours.
//!
//! Themes are embedded in the program; files in `themes/` of the user's config folder are
//! added, and replace a shipped theme of the same name.

mod depth;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use include_dir::{Dir, include_dir};
use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};

pub use depth::Depth;

static SHIPPED: Dir = include_dir!("$CARGO_MANIFEST_DIR/themes");

/// The theme that is used when the user chose none.
pub const DEFAULT: &str = "terminal";

/// A named set of styles.
#[derive(Debug, Clone, PartialEq)]
pub struct Theme {
    /// The file's name without `.toml`.
    pub name: String,
    /// One line for lists of themes.
    pub description: String,
    /// The style of each role.
    pub roles: Roles,
}

/// The roles a theme gives a style to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Ordinary text, and the background of the whole screen.
    #[serde(deserialize_with = "style")]
    pub text: Style,
    /// What matters less: units, hints, borders' captions.
    #[serde(deserialize_with = "style")]
    pub muted: Style,
    /// Headings, keys, what is in focus.
    #[serde(deserialize_with = "style")]
    pub accent: Style,
    /// Lines around panels.
    #[serde(deserialize_with = "style")]
    pub border: Style,
    /// The selected row or field.
    #[serde(deserialize_with = "style")]
    pub selected: Style,
    /// Success.
    #[serde(deserialize_with = "style")]
    pub good: Style,
    /// Something to look at.
    #[serde(deserialize_with = "style")]
    pub warn: Style,
    /// Failure.
    #[serde(deserialize_with = "style")]
    pub bad: Style,
    /// The part of a text that differs.
    #[serde(deserialize_with = "style")]
    pub difference: Style,
    /// The first lane.
    #[serde(deserialize_with = "style")]
    pub lane1: Style,
    /// The second lane.
    #[serde(deserialize_with = "style")]
    pub lane2: Style,
    /// The third lane.
    #[serde(deserialize_with = "style")]
    pub lane3: Style,
    /// The fourth lane; further lanes begin again.
    #[serde(deserialize_with = "style")]
    pub lane4: Style,
}

impl Roles {
    fn all_mut(&mut self) -> [&mut Style; 13] {
        [
            &mut self.text,
            &mut self.muted,
            &mut self.accent,
            &mut self.border,
            &mut self.selected,
            &mut self.good,
            &mut self.warn,
            &mut self.bad,
            &mut self.difference,
            &mut self.lane1,
            &mut self.lane2,
            &mut self.lane3,
            &mut self.lane4,
        ]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThemeFile {
    description: String,
    roles: Roles,
}

impl Theme {
    /// Reads a theme from TOML; `origin` is the file to name in errors.
    ///
    /// # Errors
    /// What is wrong, with file, line and key.
    pub fn parse(name: &str, origin: &str, text: &str) -> anyhow::Result<Self> {
        let file: ThemeFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let place = line.map_or(origin.to_owned(), |line| format!("{origin}, line {line}"));
            anyhow::anyhow!("{place}: {}", error.message().trim_end_matches('\n'))
        })?;
        Ok(Self { name: name.to_owned(), description: file.description, roles: file.roles })
    }

    /// The style of a lane, counted from 0.
    pub fn lane(&self, lane: usize) -> Style {
        let roles = &self.roles;
        [roles.lane1, roles.lane2, roles.lane3, roles.lane4][lane % 4]
    }

    /// The same theme in the colours that a terminal has.
    pub fn within(mut self, depth: Depth) -> Self {
        for style in self.roles.all_mut() {
            style.fg = style.fg.map(|colour| depth.nearest(colour));
            style.bg = style.bg.map(|colour| depth.nearest(colour));
        }
        let ground = self.roles.text.bg;
        for style in self.roles.all_mut() {
            let on = style.bg.or(ground).filter(|on| *on != Color::Reset);
            if on.is_some() && style.fg == on {
                // two colours became one: what is written must still be seen
                let dark = matches!(on, Some(Color::Black | Color::DarkGray | Color::Blue));
                style.fg = Some(if dark { Color::White } else { Color::Black });
            }
        }
        self
    }

    /// The same theme without any colour: bold, dim and reversed are left.
    pub fn without_colours(mut self) -> Self {
        for style in self.roles.all_mut() {
            *style = Style { fg: None, bg: None, ..*style };
        }
        let roles = &mut self.roles;
        // these two are read by their style alone
        roles.selected = Style::new().add_modifier(Modifier::REVERSED);
        roles.difference = Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        self
    }
}

/// All themes: the shipped ones, the default first, then the user's. A file that cannot be
/// read is left out and told in the second part.
pub fn all(user_folder: &Path) -> (Vec<Theme>, Vec<anyhow::Error>) {
    let mut themes = shipped();
    let mut errors = Vec::new();
    for theme in user_themes(user_folder) {
        match theme {
            Ok(theme) => match themes.iter_mut().find(|shipped| shipped.name == theme.name) {
                Some(shipped) => *shipped = theme,
                None => themes.push(theme),
            },
            Err(error) => errors.push(error),
        }
    }
    (themes, errors)
}

/// The themes in the program, the default first.
pub fn shipped() -> Vec<Theme> {
    let mut themes: Vec<Theme> = SHIPPED
        .files()
        .filter_map(|file| {
            let name = file.path().file_stem()?.to_str()?;
            let text = file.contents_utf8()?;
            Some(Theme::parse(name, name, text).expect("shipped themes are read by a test"))
        })
        .collect();
    themes.sort_by_key(|theme| (theme.name != DEFAULT, theme.name.clone()));
    themes
}

fn user_themes(folder: &Path) -> Vec<anyhow::Result<Theme>> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let origin = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("{origin}: this theme cannot be read"))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            Theme::parse(&name, &origin, &text)
        })
        .collect()
}

/// A style as it is written: `"red"`, `"#ff8800"`, `"214"`, or a table.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Paint {
    fg: Option<Paintable>,
    bg: Option<Paintable>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    reversed: bool,
}

#[derive(Clone, Copy)]
struct Paintable(Color);

impl<'de> Deserialize<'de> for Paintable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        colour(&text).map(Paintable).map_err(serde::de::Error::custom)
    }
}

fn colour(text: &str) -> Result<Color, String> {
    text.parse().map_err(|_| {
        format!(
            "\"{text}\" is no colour: write a name such as red or lightblue, #rrggbb, \
             a number from 0 to 255, or reset"
        )
    })
}

fn style<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Style, D::Error> {
    struct StyleVisitor;

    impl<'de> Visitor<'de> for StyleVisitor {
        type Value = Style;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a colour, or a table with fg, bg, bold, dim, italic, underlined, reversed")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Style, E> {
            Ok(Style::new().fg(colour(text).map_err(E::custom)?))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Style, A::Error> {
            Ok(Paint::deserialize(MapAccessDeserializer::new(map))?.style())
        }
    }

    deserializer.deserialize_any(StyleVisitor)
}

impl Paint {
    fn style(&self) -> Style {
        let modifiers = [
            (self.bold, Modifier::BOLD),
            (self.dim, Modifier::DIM),
            (self.italic, Modifier::ITALIC),
            (self.underlined, Modifier::UNDERLINED),
            (self.reversed, Modifier::REVERSED),
        ];
        let modifiers = modifiers.iter().filter(|(on, _)| *on).map(|(_, modifier)| *modifier);
        Style {
            fg: self.fg.map(|paint| paint.0),
            bg: self.bg.map(|paint| paint.0),
            ..Style::new().add_modifier(modifiers.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = r##"description = "a test"
[roles]
text = "reset"
muted = { dim = true }
accent = { fg = "cyan", bold = true }
border = "8"
selected = { reversed = true }
good = "green"
warn = "yellow"
bad = "#ff0000"
difference = { fg = "yellow", underlined = true }
lane1 = "blue"
lane2 = "magenta"
lane3 = "green"
lane4 = "yellow"
"##;

    fn error_of(text: &str) -> String {
        Theme::parse("mine", "mine.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn a_theme_gives_styles_to_roles() {
        let theme = Theme::parse("plain", "plain.toml", PLAIN).unwrap();
        assert_eq!(theme.roles.bad, Style::new().fg(Color::Rgb(255, 0, 0)));
        assert_eq!(theme.roles.accent, Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD));
        assert_eq!(theme.lane(4), theme.roles.lane1);
    }

    #[test]
    fn the_shipped_themes_are_nine_and_the_default_is_first() {
        let names: Vec<String> = shipped().into_iter().map(|theme| theme.name).collect();
        assert_eq!(
            names,
            [
                "terminal",
                "colour-blind",
                "dark",
                "dracula",
                "gruvbox",
                "high-contrast",
                "light",
                "nord",
                "solarized-light"
            ]
        );
    }

    #[test]
    fn an_unknown_colour_is_refused_with_file_line_and_value() {
        let text = PLAIN.replace("bad = \"#ff0000\"", "bad = \"rde\"");
        let error = error_of(&text);
        assert!(error.starts_with("mine.toml, line 10: "), "{error}");
        assert!(error.contains("\"rde\" is no colour"), "{error}");
    }

    #[test]
    fn an_unknown_role_is_refused_by_name() {
        let error = error_of(&format!("{PLAIN}lane9 = \"red\"\n"));
        assert!(error.starts_with("mine.toml, line 16: "), "{error}");
        assert!(error.contains("lane9"), "{error}");
    }

    #[test]
    fn a_missing_role_is_named() {
        let error = error_of(&PLAIN.replace("lane4 = \"yellow\"\n", ""));
        assert!(error.contains("lane4"), "{error}");
    }

    #[test]
    fn a_hostile_theme_is_an_error_and_not_a_panic() {
        for text in
            ["", "roles = 3", "[roles]\ntext = 1", "[roles]\ntext = { fg = [] }", "\u{0}", "#é\n=é"]
        {
            assert!(Theme::parse("x", "x.toml", text).is_err());
        }
    }

    #[test]
    fn without_colours_no_role_has_a_colour() {
        for theme in shipped() {
            let shown = format!("{:?}", theme.without_colours().roles);
            assert!(!shown.contains("fg: Some") && !shown.contains("bg: Some"), "{shown}");
        }
    }

    #[test]
    fn user_themes_replace_shipped_ones_and_bad_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("dark.toml"), PLAIN).unwrap();
        std::fs::write(folder.path().join("mine.toml"), PLAIN).unwrap();
        std::fs::write(folder.path().join("broken.toml"), "description = 1").unwrap();
        let (themes, errors) = all(folder.path());
        let names: Vec<&str> = themes.iter().map(|theme| theme.name.as_str()).collect();
        assert_eq!((names[0], names[2], names[9]), ("terminal", "dark", "mine"));
        assert_eq!(themes[2].description, "a test");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("broken.toml, line 1"), "{}", errors[0]);
    }
}
