//! Bodies of requests: which parameters a server takes, and under which names.

use serde_json::{Map, Value, json};

use super::Kind;
use crate::prompts::{Content, Message};
use crate::provider::{Failure, FailureKind, MaxTokensField, Request, ServerOptions};
use crate::sampling::Sampling;

/// Writes the bodies for one model on one server.
#[derive(Debug)]
pub(in crate::provider) struct Body {
    model: String,
    kind: Kind,
    limit_field: &'static str,
}

impl Body {
    pub fn new(model: String, kind: Kind, options: &ServerOptions) -> Self {
        let default = match kind {
            Kind::OpenAi => MaxTokensField::MaxCompletionTokens,
            _ => MaxTokensField::MaxTokens,
        };
        let limit_field = match options.max_tokens_field.unwrap_or(default) {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        };
        Self { model, kind, limit_field }
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    /// What the report should say about parameters that cannot be sent.
    pub fn details(&self) -> Option<(String, String)> {
        let text = "greedy is not possible: the model takes no temperature";
        self.refuses_temperature().then(|| ("sampling".to_owned(), text.to_owned()))
    }

    /// The body of a chat completion.
    pub fn chat(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let mut body = self.chat_of_job(request)?;
        self.stream(&mut body);
        self.write(body)
    }

    /// The body of a chat completion in a batch job, which has no stream.
    pub fn chat_of_job(&self, request: &Request) -> Result<Map<String, Value>, Failure> {
        let mut body = self.parameters(request, self.limit_field)?;
        body.insert("messages".into(), messages(&request.prompt.content));
        Ok(body)
    }

    /// The body of a text completion in a batch job.
    pub fn completion_of_job(&self, request: &Request) -> Result<Map<String, Value>, Failure> {
        let mut body = self.parameters(request, "max_tokens")?;
        body.insert("prompt".into(), request.prompt.content.display().into());
        Ok(body)
    }

    /// The body of a text completion of one or many raw prompts. The seed of an array is that
    /// of its first row.
    pub fn completions(&self, requests: &[Request]) -> Result<Vec<u8>, Failure> {
        let text = |request: &Request| Value::from(request.prompt.content.display());
        let (prompt, first) = match requests {
            [] => return Err(Failure::new(FailureKind::Internal, "a request without a prompt")),
            [one] => (text(one), one),
            [first, ..] => (requests.iter().map(text).collect(), first),
        };
        let mut body = self.parameters(first, "max_tokens")?;
        self.stream(&mut body);
        if requests.len() > 1 && matches!(self.kind, Kind::Vllm | Kind::SgLang) {
            // the only way to learn the counts of each prompt
            body["stream_options"]["continuous_usage_stats"] = true.into();
        }
        body.insert("prompt".into(), prompt);
        self.write(body)
    }

    /// The body of many conversations in one request, for vLLM's batch route. The seed is that of
    /// the first row.
    pub fn conversations(&self, requests: &[Request]) -> Result<Vec<u8>, Failure> {
        let Some(first) = requests.first() else {
            return Err(Failure::new(FailureKind::Internal, "a request without a prompt"));
        };
        let mut body = self.parameters(first, self.limit_field)?;
        let all = requests.iter().map(|request| messages(&request.prompt.content));
        body.insert("messages".into(), all.collect());
        // the only way to learn the counts of each row: the usage is that of all
        body.insert("return_token_ids".into(), true.into());
        self.write(body)
    }

    fn write(&self, body: Map<String, Value>) -> Result<Vec<u8>, Failure> {
        serde_json::to_vec(&body)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
    }

    fn parameters(
        &self,
        request: &Request,
        limit_field: &str,
    ) -> Result<Map<String, Value>, Failure> {
        let sampling = &*request.sampling;
        let mut body = Map::new();
        body.insert("model".into(), self.model.clone().into());
        body.insert(limit_field.into(), sampling.max_tokens.into());
        if !(self.refuses_temperature() && sampling.is_greedy()) {
            body.insert("temperature".into(), number(sampling.temperature));
        }
        self.insert_filters(sampling, &mut body)?;
        if !sampling.is_greedy() {
            body.insert("seed".into(), seed(sampling, request.row).into());
        }
        if !sampling.stop.is_empty() {
            body.insert("stop".into(), sampling.stop.clone().into());
        }
        if sampling.ignore_eos {
            let known = matches!(self.kind, Kind::LlamaCpp | Kind::Vllm | Kind::SgLang);
            self.require(known, "ignore_eos")?;
            body.insert("ignore_eos".into(), true.into());
        }
        if self.kind == Kind::LlamaCpp {
            // else a repeated prompt costs nothing, and prefill times mean nothing
            body.insert("cache_prompt".into(), false.into());
        }
        Ok(body)
    }

    fn stream(&self, body: &mut Map<String, Value>) {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), self.stream_options());
    }

    /// `top_k`, `top_p`, `min_p`. Absent means no filter, which llama.cpp must be told.
    fn insert_filters(
        &self,
        sampling: &Sampling,
        body: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        let neutral = self.kind == Kind::LlamaCpp && !sampling.is_greedy();
        if let Some(top_k) = sampling.top_k.or(neutral.then_some(0)) {
            let unknown = matches!(self.kind, Kind::OpenAi | Kind::Tgi | Kind::Ollama);
            self.require(!unknown, "top_k")?;
            body.insert("top_k".into(), top_k.into());
        }
        if let Some(top_p) = sampling.top_p.or(neutral.then_some(1.0)) {
            body.insert("top_p".into(), number(top_p));
        }
        if let Some(min_p) = sampling.min_p.or(neutral.then_some(0.0)) {
            let unknown =
                matches!(self.kind, Kind::OpenAi | Kind::Tgi | Kind::Ollama | Kind::LmStudio);
            self.require(!unknown, "min_p")?;
            body.insert("min_p".into(), number(min_p));
        }
        if self.kind == Kind::LmStudio {
            // its own default punishes repetition, also in greedy text
            body.insert("repeat_penalty".into(), 1.0.into());
        }
        Ok(())
    }

    fn stream_options(&self) -> Value {
        match self.kind {
            // padding of random length would only be measured along
            Kind::OpenAi => json!({"include_usage": true, "include_obfuscation": false}),
            _ => json!({"include_usage": true}),
        }
    }

    fn require(&self, known: bool, parameter: &str) -> Result<(), Failure> {
        if known {
            return Ok(());
        }
        let message = match self.kind {
            Kind::Unknown => format!("this server is not known to take {parameter}: leave it out"),
            kind => format!("{kind} takes no {parameter} over this API: leave it out"),
        };
        Err(Failure::new(FailureKind::Unsupported, message))
    }

    /// OpenAI's reasoning models accept the default temperature only.
    fn refuses_temperature(&self) -> bool {
        let reasons = |name: &str| {
            let series = name.strip_prefix('o').and_then(|rest| rest.chars().next());
            series.is_some_and(|c| c.is_ascii_digit()) || name.starts_with("gpt-5")
        };
        self.kind == Kind::OpenAi && reasons(&self.model)
    }
}

/// The conversation; a bare text is one user message.
pub(in crate::provider) fn messages(content: &Content) -> Value {
    match content {
        Content::Text(text) => json!([{"role": "user", "content": text}]),
        Content::Messages(messages) => {
            let one = |message: &Message| json!({"role": message.role, "content": message.content});
            messages.iter().map(one).collect()
        }
    }
}

/// A number as it was written: 0.7 and not 0.699999988.
pub(in crate::provider) fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Each row draws from its own stream; servers take 31 bits safely.
pub(in crate::provider) fn seed(sampling: &Sampling, row: usize) -> u64 {
    sampling.seed.wrapping_add(row as u64) & 0x7fff_ffff
}

#[cfg(test)]
mod tests;
