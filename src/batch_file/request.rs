//! The lines of a batch: one request each.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::custom_ids;
use crate::prompts::{Content, Prompt, PromptList};
use crate::sampling::Sampling;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`: the server applies the model's chat template.
    Chat,
    /// `/v1/completions`: the prompt as it is.
    Completions,
}

/// The name under which the token limit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitField {
    /// `max_tokens`, which engines know.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's reasoning models insist on.
    MaxCompletionTokens,
}

/// What the requests of a batch have in common.
#[derive(Debug, Clone, Copy)]
pub struct RequestFile<'a> {
    /// The model, by the name that the engine knows it by.
    pub model: &'a str,
    /// Where the requests go.
    pub endpoint: Endpoint,
    /// The name of the token limit.
    pub limit_field: LimitField,
    /// The parameters of generation.
    pub sampling: &'a Sampling,
}

impl Endpoint {
    /// The path of the route.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = [Endpoint::Chat, Endpoint::Completions];
        let found = known.into_iter().find(|endpoint| {
            endpoint.path() == word || endpoint.path().trim_start_matches("/v1/") == word
        });
        match word {
            "chat" => Ok(Endpoint::Chat),
            _ => found.ok_or_else(|| "an endpoint is chat or completions".to_owned()),
        }
    }
}

/// A line of a batch, its newline included.
pub fn request_line(custom_id: &str, endpoint: Endpoint, body: Map<String, Value>) -> Vec<u8> {
    let url = endpoint.path();
    let line = json!({"custom_id": custom_id, "method": "POST", "url": url, "body": body});
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}

impl RequestFile<'_> {
    /// The whole batch, a line a prompt.
    ///
    /// # Errors
    /// A prompt that the endpoint cannot take.
    pub fn write(&self, list: &PromptList) -> Result<Vec<u8>, String> {
        let mut file = Vec::new();
        for (id, prompt) in custom_ids(list).iter().zip(&list.prompts) {
            file.extend(request_line(id, self.endpoint, self.body(prompt)?));
        }
        Ok(file)
    }

    /// Parameters that are set here and that OpenAI's own API does not take.
    pub fn engine_parameters(&self) -> Vec<&'static str> {
        let Sampling { top_k, min_p, ignore_eos, .. } = self.sampling;
        [("top_k", top_k.is_some()), ("min_p", min_p.is_some()), ("ignore_eos", *ignore_eos)]
            .into_iter()
            .filter_map(|(name, set)| set.then_some(name))
            .collect()
    }

    fn body(&self, prompt: &Prompt) -> Result<Map<String, Value>, String> {
        let mut body = Map::new();
        body.insert("model".into(), self.model.into());
        let (field, value) = match (self.endpoint, &prompt.content) {
            (Endpoint::Chat, Content::Text(text)) => {
                ("messages", json!([{"role": "user", "content": text}]))
            }
            (Endpoint::Chat, Content::Messages(messages)) => ("messages", json!(messages)),
            (Endpoint::Completions, Content::Text(text)) => ("prompt", text.as_str().into()),
            (Endpoint::Completions, Content::Messages(_)) => {
                return Err(format!(
                    "prompt {} is a conversation, which {} does not take: use the endpoint chat",
                    prompt.index + 1,
                    self.endpoint.path()
                ));
            }
        };
        body.insert(field.into(), value);
        self.parameters(prompt.index, &mut body);
        Ok(body)
    }

    fn parameters(&self, row: usize, body: &mut Map<String, Value>) {
        let sampling = self.sampling;
        let limit_field = match (self.limit_field, self.endpoint) {
            (LimitField::MaxCompletionTokens, Endpoint::Chat) => "max_completion_tokens",
            (LimitField::MaxTokens, _) | (_, Endpoint::Completions) => "max_tokens",
        };
        let mut set = |name: &str, value: Option<Value>| {
            value.map(|value| body.insert(name.into(), value));
        };
        set(limit_field, Some(sampling.max_tokens.into()));
        set("temperature", Some(number(sampling.temperature)));
        set("top_k", sampling.top_k.map(Value::from));
        set("top_p", sampling.top_p.map(number));
        set("min_p", sampling.min_p.map(number));
        // each row draws from its own stream; engines take 31 bits safely
        let seed = sampling.seed.wrapping_add(row as u64) & 0x7fff_ffff;
        set("seed", (!sampling.is_greedy()).then(|| seed.into()));
        set("stop", (!sampling.stop.is_empty()).then(|| sampling.stop.clone().into()));
        set("ignore_eos", sampling.ignore_eos.then(|| true.into()));
    }
}

/// A number as it was written: 0.7 and not 0.699999988.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use crate::prompts::{Format, LoadOptions, load_bytes};

    use super::*;

    fn list(jsonl: &str) -> PromptList {
        load_bytes("p", Format::JsonLines, jsonl.as_bytes(), &LoadOptions::default()).unwrap()
    }

    fn lines(file: &RequestFile<'_>, jsonl: &str) -> Vec<Value> {
        let bytes = file.write(&list(jsonl)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_greedy_chat_batch_is_what_openai_documents() {
        let sampling = Sampling::default();
        let file = RequestFile {
            model: "gpt-x",
            endpoint: Endpoint::Chat,
            limit_field: LimitField::MaxCompletionTokens,
            sampling: &sampling,
        };
        let prompts =
            "\"Hi \\u2028\"\n{\"id\":\"b\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"}]}";
        let body = |messages: Value| {
            json!({"model": "gpt-x", "messages": messages, "max_completion_tokens": 64,
                "temperature": 0.0})
        };
        let line = |id: &str, body: Value| json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body});
        let expected = [
            line("row-1", body(json!([{"role": "user", "content": "Hi \u{2028}"}]))),
            line("b", body(json!([{"role": "system", "content": "s"}]))),
        ];
        assert_eq!(lines(&file, prompts), expected);
        assert!(file.engine_parameters().is_empty());
    }

    #[test]
    fn every_parameter_is_written_and_seeds_differ_by_row() {
        let sampling = Sampling {
            max_tokens: 5,
            temperature: 0.7,
            top_k: Some(4),
            top_p: Some(0.9),
            min_p: Some(0.1),
            seed: 3,
            stop: vec!["x".into()],
            ignore_eos: true,
        };
        let file = RequestFile {
            model: "m",
            endpoint: Endpoint::Completions,
            limit_field: LimitField::MaxCompletionTokens,
            sampling: &sampling,
        };
        let written = lines(&file, "\"a\"\n\"b\"");
        let expected = json!({"model": "m", "prompt": "b", "max_tokens": 5, "temperature": 0.7,
            "top_k": 4, "top_p": 0.9, "min_p": 0.1, "seed": 4, "stop": ["x"], "ignore_eos": true});
        assert_eq!(written[1]["body"], expected);
        assert_eq!(written[1]["url"], "/v1/completions");
        assert_eq!(file.engine_parameters(), ["top_k", "min_p", "ignore_eos"]);
        let refusal = file.write(&list(r#"{"messages":[{"role":"user","content":"x"}]}"#));
        assert!(refusal.unwrap_err().contains("prompt 1 is a conversation"));
    }

    #[test]
    fn endpoints_are_read_by_word_and_by_path() {
        for word in ["chat", "chat/completions", "/v1/chat/completions"] {
            assert_eq!(word.parse(), Ok(Endpoint::Chat));
        }
        assert_eq!("completions".parse(), Ok(Endpoint::Completions));
        assert!("embeddings".parse::<Endpoint>().is_err());
    }
}
