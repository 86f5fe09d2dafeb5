//! The lines that come back: one result each, of OpenAI's shape as vLLM and others write it
//! too, or of Anthropic's.

use serde_json::Value;

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultLine {
    /// The request's name.
    pub custom_id: String,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Problem>,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The text; empty where the model said nothing.
    pub text: String,
    /// Tokens of the prompt, cached ones too.
    pub prompt_tokens: Option<usize>,
    /// Generated tokens.
    pub output_tokens: Option<usize>,
    /// Why it ended, in the API's word.
    pub finish_reason: Option<String>,
    /// The model that says to have answered.
    pub model: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Problem {
    /// The status of the request, where it was made.
    pub status: Option<u16>,
    /// Such as `batch_expired`, `rate_limit_exceeded` or `overloaded_error`.
    pub code: Option<String>,
    /// For people, and not fit to be shown as it is.
    pub message: String,
}

impl ResultLine {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line.trim_ascii())
            .map_err(|error| format!("not valid JSON: {error}"))?;
        let custom_id = match value.get("custom_id") {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => return Err("it has no custom_id".into()),
        };
        let outcome = match value.get("result") {
            Some(result) => of_anthropic(result)?,
            None => of_openai(&value)?,
        };
        Ok(Self { custom_id, outcome })
    }
}

fn of_openai(value: &Value) -> Result<Result<Answer, Problem>, String> {
    let error = value.get("error").filter(|error| !error.is_null());
    let response = value.get("response").filter(|response| !response.is_null());
    let status = response.and_then(|response| response.get("status_code")).and_then(Value::as_u64);
    let status = status.and_then(|status| u16::try_from(status).ok()).filter(|status| *status > 0);
    let body = response.and_then(|response| response.get("body")).filter(|body| !body.is_null());
    if let Some(error) = error {
        return Ok(Err(problem(error, status)));
    }
    let Some(body) = body else {
        return Err("it has neither a response nor an error".into());
    };
    let is_error = body.get("error").is_some_and(|error| !error.is_null());
    if status.is_some_and(|status| status >= 400) || is_error {
        return Ok(Err(problem(body.get("error").unwrap_or(body), status)));
    }
    completion(body).map(Ok)
}

/// The answer in the body of a chat or text completion.
fn completion(body: &Value) -> Result<Answer, String> {
    let choices = body.get("choices").and_then(Value::as_array);
    let first = |choices: &'_ Vec<Value>| {
        let place = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0);
        choices.iter().min_by_key(place).cloned()
    };
    let choice = choices.and_then(first).ok_or("its response holds no choices")?;
    let message = choice.get("message");
    let text = [
        message.and_then(|message| message.get("content")),
        choice.get("text"),
        message.and_then(|message| message.get("refusal")),
    ];
    let text = text.into_iter().flatten().find_map(text_of).unwrap_or_default();
    let count = |name: &str| number(body.get("usage")?.get(name)?);
    Ok(Answer {
        text,
        prompt_tokens: count("prompt_tokens"),
        output_tokens: count("completion_tokens"),
        finish_reason: word(&choice, "finish_reason"),
        model: word(body, "model"),
    })
}

fn of_anthropic(result: &Value) -> Result<Result<Answer, Problem>, String> {
    let code = |message: &str, code: &str| Problem {
        code: Some(code.to_owned()),
        message: message.to_owned(),
        status: None,
    };
    match result.get("type").and_then(Value::as_str) {
        Some("succeeded") => {
            let message = result.get("message").ok_or("its result holds no message")?;
            Ok(Ok(of_message(message)))
        }
        Some("errored") => {
            let outer = result.get("error").ok_or("its result holds no error")?;
            Ok(Err(problem(outer.get("error").unwrap_or(outer), None)))
        }
        Some("canceled") => Ok(Err(code("the batch was cancelled before it", "canceled"))),
        Some("expired") => Ok(Err(code("the batch expired before it", "expired"))),
        _ => Err("its result is of an unknown type".into()),
    }
}

fn of_message(message: &Value) -> Answer {
    let count = |name: &str| message.get("usage").and_then(|usage| number(usage.get(name)?));
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let cached: usize = cached.into_iter().filter_map(count).sum();
    Answer {
        text: message.get("content").and_then(text_of).unwrap_or_default(),
        prompt_tokens: count("input_tokens").map(|tokens| tokens.saturating_add(cached)),
        output_tokens: count("output_tokens"),
        finish_reason: word(message, "stop_reason"),
        model: word(message, "model"),
    }
}

/// A text, or the texts of its parts; parts that are not text are left out.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text")?.as_str()).collect())
        }
        _ => None,
    }
}

fn problem(error: &Value, status: Option<u16>) -> Problem {
    let code = match error.get("code") {
        Some(Value::Number(code)) => Some(code.to_string()),
        _ => word(error, "code"),
    };
    let message = match error {
        Value::String(text) => Some(text.clone()),
        _ => word(error, "message"),
    };
    Problem {
        status,
        code: code.or_else(|| word(error, "type")),
        message: message.unwrap_or_else(|| "it failed without a reason".into()),
    }
}

fn word(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).filter(|word| !word.is_empty()).map(str::to_owned)
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<ResultLine, String> {
        ResultLine::parse(value.to_string().as_bytes())
    }

    fn outcome(value: Value) -> Result<Answer, Problem> {
        parse(&value).unwrap().outcome
    }

    #[test]
    fn answers_of_chat_and_text_completions_are_read() {
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let chat = json!({"id": "b", "custom_id": "a", "error": null, "response": {
        "status_code": 200, "request_id": "r", "body": {
            "model": "m", "usage": usage, "choices": [
                {"index": 1, "message": {"content": "no"}, "finish_reason": "stop"},
                {"index": 0, "message": {"content": "yes"}, "finish_reason": "length"},
            ]}}});
        let expected = Answer {
            text: "yes".into(),
            prompt_tokens: Some(3),
            output_tokens: Some(2),
            finish_reason: Some("length".into()),
            model: Some("m".into()),
        };
        assert_eq!(parse(&chat).unwrap().custom_id, "a");
        assert_eq!(outcome(chat), Ok(expected));
        // as vllm run-batch writes it, without a status
        let text = json!({"custom_id": "a", "response": {"body": {"choices": [{"text": "t"}]}}});
        assert_eq!(outcome(text), Ok(Answer { text: "t".into(), ..Answer::default() }));
    }

    #[test]
    fn a_message_of_anthropic_counts_cached_tokens_of_its_prompt() {
        let line = json!({"custom_id": "a", "result": {"type": "succeeded", "message": {
            "model": "claude", "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}],
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2,
                "cache_creation_input_tokens": null},
        }}});
        let expected = Answer {
            text: "yes".into(),
            prompt_tokens: Some(7),
            output_tokens: Some(2),
            finish_reason: Some("end_turn".into()),
            model: Some("claude".into()),
        };
        assert_eq!(outcome(line), Ok(expected));
    }

    #[test]
    fn every_way_to_fail_is_told_with_its_code() {
        let http = |body: Value| {
            json!({"custom_id": "a", "error": null,
            "response": {"status_code": 400, "body": body}})
        };
        let errored = |error: Value| {
            json!({"custom_id": "a", "result": {"type": "errored",
            "error": {"type": "error", "error": error}}})
        };
        let cases = [
            (http(json!({"error": {"message": "bad", "code": "c"}})), Some(400), Some("c"), "bad"),
            (http(json!({"message": "bad", "code": 400})), Some(400), Some("400"), "bad"),
            (http(json!({"error": "bad"})), Some(400), None, "bad"),
            (
                json!({"custom_id": "a", "response": null,
                    "error": {"code": "batch_expired", "message": "late"}}),
                None,
                Some("batch_expired"),
                "late",
            ),
            (
                errored(json!({"type": "overloaded_error", "message": "busy"})),
                None,
                Some("overloaded_error"),
                "busy",
            ),
            (
                json!({"custom_id": "a", "result": {"type": "expired"}}),
                None,
                Some("expired"),
                "the batch expired before it",
            ),
        ];
        for (line, status, code, message) in cases {
            let expected =
                Problem { status, code: code.map(str::to_owned), message: message.into() };
            assert_eq!(outcome(line.clone()), Err(expected), "{line}");
        }
    }

    #[test]
    fn lines_that_are_no_result_say_why() {
        for (line, part) in [
            (json!({"response": {}}), "no custom_id"),
            (json!({"custom_id": "a"}), "neither a response nor an error"),
            (json!({"custom_id": "a", "response": {"body": {}}}), "no choices"),
            (json!({"custom_id": "a", "result": {"type": "odd"}}), "unknown type"),
            (json!([]), "no custom_id"),
        ] {
            let reason = parse(&line).unwrap_err();
            assert!(reason.contains(part), "{line}: {reason}");
        }
        assert!(ResultLine::parse(b"{\"custom_id\":").unwrap_err().contains("not valid JSON"));
        assert!(ResultLine::parse(b"\xff").unwrap_err().contains("not valid JSON"));
    }
}
