//! What chat templates find in `transformers` beyond the language itself.

use jiff::ZonedDateTime;
use jiff::fmt::strtime;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};

/// Adds the functions and filters to `environment`.
pub(super) fn add(environment: &mut Environment<'static>) {
    // taken once, so that all prompts of a run see the same day
    let now = ZonedDateTime::now();
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |format: &str| strftime(format, &now));
    environment.add_filter("tojson", to_json);
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime(format: &str, now: &ZonedDateTime) -> Result<String, Error> {
    strtime::format(format, now).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, format!("the date format {format:?}: {error}"))
    })
}

/// As `json.dumps` with `ensure_ascii=False`, which is the library's own filter without its
/// escapes for HTML.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = options.get("indent")?;
    // a rendering without these is what nearly every template asks for
    let _unused: (Option<bool>, Option<bool>) =
        (options.get("ensure_ascii")?, options.get("sort_keys")?);
    options.assert_all_used()?;
    let json =
        minijinja::filters::tojson(value, indent, Kwargs::from_iter([] as [(&str, Value); 0]))?;
    Ok(Value::from_safe_string(without_html_escapes(&json.to_string())))
}

/// Undoes `\u003c`, `\u003e`, `\u0026` and `\u0027` in JSON.
fn without_html_escapes(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escape = &rest[at..];
        let html = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        let length = match html.iter().find(|(written, _)| escape.starts_with(written)) {
            Some((written, character)) => {
                plain.push(*character);
                written.len()
            }
            // every other escape is copied with the character after its backslash
            None => {
                let length = 1 + escape.chars().nth(1).map_or(0, char::len_utf8);
                plain.push_str(&escape[..length]);
                length
            }
        };
        rest = &escape[length..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, Error> {
        let mut environment = Environment::new();
        add(&mut environment);
        environment.render_str(template, minijinja::context! { x => "a<b>&'\\u003c\n\"é" })
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        assert_eq!(render("{{ x|tojson }}").unwrap(), r#""a<b>&'\\u003c\n\"é""#);
        assert_eq!(
            render("{{ {'a': [1, 2.5, none, true]}|tojson }}").unwrap(),
            r#"{"a": [1, 2.5, null, true]}"#
        );
        assert_eq!(render("{{ [1]|tojson(indent=2, ensure_ascii=false) }}").unwrap(), "[\n  1\n]");
    }

    #[test]
    fn a_date_is_written_by_its_format_and_a_bad_format_is_an_error() {
        let year = render("{{ strftime_now('%Y') }}").unwrap();
        assert_eq!(year, ZonedDateTime::now().year().to_string());
        assert!(render("{{ strftime_now('%') }}").is_err());
    }

    #[test]
    fn a_template_can_refuse() {
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert_eq!(error.detail(), Some("roles must alternate"));
    }
}
