//! One record of a list, before it becomes a prompt: its content, names and other fields.

use serde_json::{Map, Value};

use super::{Content, Message};

/// What a reader found for one prompt.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The prompt; a template can do without one.
    pub content: Option<Content>,
    /// The user's name for it.
    pub id: Option<String>,
    /// `id` is a `custom_id`, which no other record may have.
    pub unique: bool,
    /// A word that the answer should contain.
    pub expect: Option<String>,
    /// All fields, for the template.
    pub fields: Map<String, Value>,
}

impl Record {
    /// A record that is nothing but its text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: Some(Content::Text(text.into())), ..Self::default() }
    }

    /// Reads a JSON value: a string or an object. With `lenient`, an object without a prompt
    /// will do, because a template makes it from other fields.
    pub fn from_json(value: Value, column: Option<&str>, lenient: bool) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(Self::text(text)),
            Value::Object(fields) => Self::from_fields(fields, column, lenient),
            other => Err(format!(
                "{} is not a prompt: write a string, or an object with \"prompt\", \"text\" or \
                 \"messages\"",
                kind(&other)
            )),
        }
    }

    fn from_fields(
        fields: Map<String, Value>,
        column: Option<&str>,
        lenient: bool,
    ) -> Result<Self, String> {
        let content = match content_of(&fields, column) {
            Ok(content) => Some(content),
            Err(_) if lenient && column.is_none() => None,
            Err(reason) => return Err(reason),
        };
        let custom_id = name(&fields, "custom_id")?;
        let unique = custom_id.is_some();
        let id = match custom_id {
            Some(id) => Some(id),
            None => name(&fields, "id")?,
        };
        let expect = name(&fields, "expect")?;
        Ok(Self { content, id, unique, expect, fields })
    }
}

/// A name or word: a string or a number; `null` and nothing are the same.
fn name(fields: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("\"{key}\" is {}, not a string", kind(other))),
    }
}

fn content_of(fields: &Map<String, Value>, column: Option<&str>) -> Result<Content, String> {
    if let Some(column) = column {
        let value = fields.get(column).ok_or_else(|| {
            format!("there is no field \"{column}\"; its fields are {}", names(fields))
        })?;
        return content(column, value);
    }
    if let Some(Value::Object(body)) = fields.get("body") {
        return first_of(body, &["messages", "prompt"]).map_err(|reason| format!("body: {reason}"));
    }
    let rivals = ["prompt", "text"];
    let rival = rivals.iter().find(|key| fields.contains_key(**key));
    if let Some(rival) = rival.filter(|_| fields.contains_key("messages")) {
        return Err(format!("it has both \"messages\" and \"{rival}\": choose one with --column"));
    }
    first_of(fields, &["messages", "prompt", "text"])
}

fn first_of(fields: &Map<String, Value>, keys: &[&str]) -> Result<Content, String> {
    for key in keys {
        if let Some(value) = fields.get(*key) {
            return content(key, value);
        }
    }
    let wanted = keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(" or ");
    Err(format!("there is no {wanted}; its fields are {}", names(fields)))
}

fn names(fields: &Map<String, Value>) -> String {
    const MOST: usize = 12;
    if fields.is_empty() {
        return "none".to_owned();
    }
    let mut names: Vec<_> = fields.keys().take(MOST).map(|key| format!("\"{key}\"")).collect();
    if fields.len() > MOST {
        names.push("…".to_owned());
    }
    names.join(", ")
}

fn content(key: &str, value: &Value) -> Result<Content, String> {
    match value {
        Value::String(text) => Ok(Content::Text(text.clone())),
        Value::Array(items) => messages(items)
            .map(Content::Messages)
            .map_err(|reason| format!("\"{key}\" is an array, but not one of messages: {reason}")),
        other => Err(format!("\"{key}\" is {}, not a string or an array of messages", kind(other))),
    }
}

fn messages(items: &[Value]) -> Result<Vec<Message>, String> {
    if items.is_empty() {
        return Err("it is empty".to_owned());
    }
    let numbered = items.iter().enumerate();
    numbered
        .map(|(place, item)| {
            message(item).map_err(|reason| format!("message {}: {reason}", place + 1))
        })
        .collect()
}

/// Reads one message. The newer name `developer` means `system`; parts of text are joined.
fn message(item: &Value) -> Result<Message, String> {
    let role = match item.get("role") {
        Some(Value::String(role)) => match role.as_str() {
            "developer" => "system",
            role @ ("system" | "user" | "assistant") => role,
            role => return Err(format!("role \"{role}\" is not system, user or assistant")),
        },
        Some(other) => return Err(format!("\"role\" is {}, not a string", kind(other))),
        None => return Err("there is no \"role\"".to_owned()),
    };
    let content = match item.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<String, _>>()?,
        Some(other) => return Err(format!("\"content\" is {}, not a string", kind(other))),
        None => return Err("there is no \"content\"".to_owned()),
    };
    Ok(Message { role: role.to_owned(), content })
}

fn part(part: &Value) -> Result<&str, String> {
    let text = part.get("text").and_then(Value::as_str);
    text.filter(|_| part.get("type").is_none_or(|kind| kind == "text" || kind == "input_text"))
        .ok_or_else(|| "a part of \"content\" is not text, and only text is supported".to_owned())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Record, String> {
        Record::from_json(value, None, false)
    }

    #[test]
    fn an_openai_batch_line_gives_its_custom_id_and_messages() {
        let record = read(json!({
            "custom_id": "q-1", "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [
                {"role": "developer", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"text": "!"}]},
            ]},
        }))
        .unwrap();
        assert_eq!((record.id.as_deref(), record.unique), (Some("q-1"), true));
        let expected = [("system", "be brief"), ("user", "Hi!")]
            .map(|(role, content)| Message { role: role.into(), content: content.into() });
        assert_eq!(record.content, Some(Content::Messages(expected.into())));
    }

    #[test]
    fn an_openai_batch_line_may_carry_a_plain_prompt() {
        let record = read(json!({"custom_id": 7, "body": {"prompt": "Once"}})).unwrap();
        assert_eq!(record.id.as_deref(), Some("7"));
        assert_eq!(record.content, Some(Content::Text("Once".into())));
    }

    #[test]
    fn an_article_with_a_body_of_text_is_not_a_batch_line() {
        let record = read(json!({"prompt": "p", "body": "long text", "id": "a"})).unwrap();
        assert_eq!((record.id.as_deref(), record.unique), (Some("a"), false));
        assert_eq!(record.content, Some(Content::Text("p".into())));
    }

    #[test]
    fn records_that_are_no_prompt_say_why() {
        let cases = [
            (json!(3), "a number is not a prompt"),
            (json!({"question": "?"}), "its fields are \"question\""),
            (json!({}), "its fields are none"),
            (json!({"prompt": 3}), "\"prompt\" is a number"),
            (json!({"prompt": "a", "messages": []}), "choose one with --column"),
            (json!({"messages": []}), "it is empty"),
            (json!({"messages": [{"content": "x"}]}), "message 1: there is no \"role\""),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "role \"tool\""),
            (json!({"messages": [{"role": "user", "content": null}]}), "\"content\" is null"),
            (
                json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                "only text is supported",
            ),
            (json!({"body": {"input": "x"}}), "body: there is no \"messages\" or \"prompt\""),
            (json!({"prompt": "x", "id": []}), "\"id\" is an array"),
        ];
        for (value, expected) in cases {
            let reason = read(value.clone()).unwrap_err();
            assert!(reason.contains(expected), "{value}: {reason}");
        }
    }

    #[test]
    fn a_chosen_field_wins_over_the_usual_ones() {
        let value = json!({"prompt": "no", "messages": [], "question": "yes"});
        let record = Record::from_json(value.clone(), Some("question"), false).unwrap();
        assert_eq!(record.content, Some(Content::Text("yes".into())));
        let reason = Record::from_json(value, Some("answer"), true).unwrap_err();
        assert!(reason.contains("\"prompt\", \"messages\", \"question\""), "{reason}");
    }
}
