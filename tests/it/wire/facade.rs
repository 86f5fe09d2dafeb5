//! Ollama, LM Studio and vLLM in front of a real llama.cpp server: their wire formats, with real
//! text and real times. None of them can be installed where tests run.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::scripted::{Recorded, read};
use crate::servers::http_client;

/// Whose format is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Ollama,
    LmStudio,
    /// With its route for many conversations in one request.
    Vllm,
}

/// The façade; it ends with this value.
pub struct Facade {
    pub address: String,
    task: tokio::task::JoinHandle<()>,
}

struct Behind {
    of: Of,
    llama: String,
    client: Client,
}

impl Facade {
    /// In front of the llama.cpp server at this address.
    pub async fn start(of: Of, llama: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let client = http_client().pool_max_idle_per_host(0).build().unwrap();
        let behind = Arc::new(Behind { of, llama: llama.to_owned(), client });
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(behind.clone(), stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for Facade {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(behind: Arc<Behind>, mut stream: TcpStream) {
    let Some(request) = read(&mut stream).await else { return };
    stream.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = stream.split();
    let mut byte = [0];
    // the real servers stop generating when their client goes away
    tokio::select! {
        _ = from_client.read(&mut byte) => {}
        _ = behind.answer(&request, &mut to_client) => {}
    }
}

type Writer<'a> = tokio::net::tcp::WriteHalf<'a>;

impl Behind {
    async fn answer(&self, request: &Recorded, to: &mut Writer<'_>) -> std::io::Result<()> {
        match (self.of, request.path.as_str()) {
            (Of::Ollama, "/api/version") => whole(to, 200, &json!({"version": "0.13.5"})).await,
            (Of::Ollama, "/api/tags") => {
                let models =
                    json!({"models": [{"name": "smollm2:135m", "capabilities": ["completion"]}]});
                whole(to, 200, &models).await
            }
            (Of::Ollama, "/api/ps") => {
                let size = self.models().await["data"][0]["meta"]["size"].clone();
                let model = json!({"name": "smollm2:135m", "model": "smollm2:135m", "size": size,
                    "size_vram": 0, "context_length": 512,
                    "details": {"family": "llama", "quantization_level": "Q4_1"}});
                whole(to, 200, &json!({"models": [model]})).await
            }
            (Of::Ollama, "/api/generate") if request.body.get("prompt").is_none() => {
                let loaded = json!({"model": "smollm2:135m", "response": "", "done": true,
                    "done_reason": "load", "load_duration": 1_000_000});
                whole(to, 200, &loaded).await
            }
            (Of::Ollama, "/api/generate" | "/api/chat") => self.ollama(request, to).await,
            (Of::LmStudio, "/api/v1/models") => {
                let instance =
                    json!({"id": "smollm2-135m", "config": {"context_length": 512, "parallel": 4}});
                let models = json!({"models": [{"type": "llm", "key": "smollm2-135m", "format": "gguf",
                    "quantization": {"name": "Q4_1", "bits_per_weight": 4},
                    "loaded_instances": [instance], "max_context_length": 8192}]});
                whole(to, 200, &models).await
            }
            (Of::LmStudio, path) if path.starts_with("/v1/") && !request.body.is_null() => {
                self.openai_stream(request, to).await
            }
            (Of::Vllm, "/version") => whole(to, 200, &json!({"version": "0.32.0"})).await,
            (Of::Vllm, "/v1/models") => {
                let model = json!({"id": "smollm2-135m", "object": "model", "max_model_len": 512});
                whole(to, 200, &json!({"object": "list", "data": [model]})).await
            }
            (Of::Vllm, "/v1/chat/completions/batch") => {
                let (status, answer) = self.vllm_batch(&request.body).await;
                whole(to, status, &answer).await
            }
            (Of::Vllm, path) if path.starts_with("/v1/") && !request.body.is_null() => {
                self.openai_stream(request, to).await
            }
            (_, path) => {
                let error = format!("Unexpected endpoint or method. (GET {path})");
                whole(to, 404, &json!({"error": error})).await
            }
        }
    }

    async fn models(&self) -> Value {
        let text = self.client.get(format!("{}/v1/models", self.llama)).send().await.unwrap();
        serde_json::from_slice(&text.bytes().await.unwrap()).unwrap()
    }

    async fn ollama(&self, request: &Recorded, to: &mut Writer<'_>) -> std::io::Result<()> {
        let options = &request.body["options"];
        let mut body = options.clone();
        body["max_tokens"] = options["num_predict"].clone();
        body["cache_prompt"] = false.into();
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let chat = request.path == "/api/chat";
        let (path, field) =
            if chat { ("/v1/chat/completions", "messages") } else { ("/v1/completions", "prompt") };
        body[field] = request.body[field].clone();
        let mut upstream = match self.post(path, &body).await {
            Ok(upstream) => upstream,
            // the error of Ollama is a string
            Err((status, error)) => {
                return whole(to, status, &json!({"error": error["error"]["message"]})).await;
            }
        };
        head(to, "application/x-ndjson").await?;
        let mut reason = Value::Null;
        while let Some(chunk) = upstream.next().await {
            let choice = &chunk["choices"][0];
            if choice["finish_reason"].is_string() {
                reason = choice["finish_reason"].clone();
            }
            let text = if chat { &choice["delta"]["content"] } else { &choice["text"] };
            let text = text.as_str().unwrap_or_default();
            let mut line = json!({"model": "smollm2:135m", "created_at": "2026-11-23T10:00:00Z", "done": false});
            if chat {
                line["message"] = json!({"role": "assistant", "content": text});
            } else {
                line["response"] = text.into();
            }
            if chunk["usage"].is_object() {
                end_line(&mut line, &chunk, &reason);
            } else if text.is_empty() {
                continue;
            }
            to.write_all(format!("{line}\n").as_bytes()).await?;
        }
        Ok(())
    }

    /// The format is OpenAI's; llama.cpp's own additions are taken out.
    async fn openai_stream(&self, request: &Recorded, to: &mut Writer<'_>) -> std::io::Result<()> {
        let mut upstream = match self.post(&request.path, &request.body).await {
            Ok(upstream) => upstream,
            Err((status, error)) => return whole(to, status, &error).await,
        };
        head(to, "text/event-stream").await?;
        while let Some(mut chunk) = upstream.next().await {
            chunk.as_object_mut().map(|chunk| chunk.remove("timings"));
            to.write_all(format!("data: {chunk}\n\n").as_bytes()).await?;
        }
        to.write_all(b"data: [DONE]\n\n").await
    }

    /// All conversations of a request, side by side; one that is refused fails the request.
    async fn vllm_batch(&self, body: &Value) -> (u16, Value) {
        let Some(conversations) = body["messages"].as_array() else {
            let error = json!({"message": "messages: Field required", "type": "BadRequestError"});
            return (400, json!({"error": error}));
        };
        let one = |messages: &Value| {
            let mut body = body.clone();
            body["messages"] = messages.clone();
            self.gathered(body)
        };
        let (mut choices, mut generated) = (Vec::new(), 0);
        for (index, answer) in join_all(conversations.iter().map(one)).await.iter().enumerate() {
            let Gathered { text, reason, tokens } = match answer {
                Ok(answer) => answer,
                Err((status, error)) => return (*status, error.clone()),
            };
            generated += tokens;
            // llama.cpp counts the tokens and does not name them
            choices.push(json!({"index": index, "finish_reason": reason,
                "message": {"role": "assistant", "content": text},
                "token_ids": vec![0; *tokens]}));
        }
        choices.reverse();
        let usage = json!({"completion_tokens": generated});
        (200, json!({"object": "chat.completion", "choices": choices, "usage": usage}))
    }

    /// The answer to one conversation. It streams, since llama.cpp goes on with an answer that
    /// nobody waits for unless it does.
    async fn gathered(&self, mut body: Value) -> Result<Gathered, (u16, Value)> {
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let mut upstream = self.post("/v1/chat/completions", &body).await?;
        let mut all = Gathered::default();
        while let Some(chunk) = upstream.next().await {
            let choice = &chunk["choices"][0];
            all.text += choice["delta"]["content"].as_str().unwrap_or_default();
            if choice["finish_reason"].is_string() {
                all.reason = choice["finish_reason"].clone();
            }
            if let Some(tokens) = chunk["usage"]["completion_tokens"].as_u64() {
                all.tokens = usize::try_from(tokens).unwrap();
            }
        }
        Ok(all)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Upstream, (u16, Value)> {
        let request = self.client.post(format!("{}{path}", self.llama)).json(body);
        let response = request.send().await.unwrap();
        let status = response.status();
        if status.is_success() {
            return Ok(Upstream { response, buffer: Vec::new() });
        }
        let error = response.bytes().await.unwrap();
        Err((status.as_u16(), serde_json::from_slice(&error).unwrap()))
    }
}

#[derive(Default)]
struct Gathered {
    text: String,
    reason: Value,
    tokens: usize,
}

fn end_line(line: &mut Value, chunk: &Value, reason: &Value) {
    let nanoseconds = |value: &Value| (value.as_f64().unwrap_or(0.0) * 1e6) as u64;
    let prefill = nanoseconds(&chunk["timings"]["prompt_ms"]);
    let decode = nanoseconds(&chunk["timings"]["predicted_ms"]);
    line["done"] = true.into();
    line["done_reason"] = reason.clone();
    line["prompt_eval_count"] = chunk["usage"]["prompt_tokens"].clone();
    line["eval_count"] = chunk["usage"]["completion_tokens"].clone();
    line["prompt_eval_duration"] = prefill.into();
    line["eval_duration"] = decode.into();
    line["load_duration"] = 50_000.into();
    line["total_duration"] = (prefill + decode + 50_000).into();
}

/// The chunks that llama.cpp streams.
struct Upstream {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Upstream {
    async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let data = event.strip_prefix(b"data: ").unwrap_or_default();
                if let Ok(value) = serde_json::from_slice::<Value>(data)
                    && value.is_object()
                {
                    return Some(value);
                }
            }
            self.buffer.extend(self.response.chunk().await.ok()??);
        }
    }
}

async fn head(to: &mut Writer<'_>, content_type: &str) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n");
    to.write_all(head.as_bytes()).await
}

async fn whole(to: &mut Writer<'_>, status: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    to.write_all(format!("{head}{body}").as_bytes()).await
}
