//! The command line that does what a plan says.

use super::{OnError, Plan, preset, written_lanes};
use crate::provider::{ProviderSpec, ServerOptions};
use crate::sampling::Sampling;

/// The command that repeats a run of this plan, ready for a shell; `None` where flags cannot say
/// all of it: some of how a server is spoken to, and names with a comma or a blank.
pub fn command_line(plan: &Plan) -> Option<String> {
    let lanes = written_lanes(&plan.lanes, &plan.provider)?;
    let server = &plan.provider.server;
    let flags = ServerOptions {
        retries: server.retries,
        requests_per_minute: server.requests_per_minute,
        tokens_per_minute: server.tokens_per_minute,
        job_requests: server.job_requests,
        batch_route: server.batch_route.filter(|given| *given),
        ..ServerOptions::default()
    };
    if *server != flags {
        return None;
    }
    let mut words = Words::default();
    // below the flags lies a preset that says nothing they leave out
    words.flag("preset", &preset::DEFAULT);
    words.flag("prompts", &plan.prompts);
    words.maybe("column", plan.column.as_ref());
    words.maybe("template", plan.template.as_ref());
    words.flag("raw", &plan.raw);
    words.provider(&plan.provider);
    words.flag("lanes", &lanes);
    words.sampling(&plan.sampling);
    words.flag("repeats", &plan.repeats);
    words.flag("warmup", &plan.warmup);
    words.flag("on-error", &on_error(plan.on_error));
    Some(words.0.join(" "))
}

/// A word for a shell, quoted where it must be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if word.chars().all(plain) && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

struct Words(Vec<String>);

impl Default for Words {
    fn default() -> Self {
        Self(vec!["batchgen-tui".to_owned(), "run".to_owned()])
    }
}

impl Words {
    /// With `=`: a value may begin with a dash.
    fn flag(&mut self, name: &str, value: &impl ToString) {
        self.0.push(quoted(&format!("--{name}={}", value.to_string())));
    }

    fn maybe(&mut self, name: &str, value: Option<&impl ToString>) {
        if let Some(value) = value {
            self.flag(name, value);
        }
    }

    fn provider(&mut self, spec: &ProviderSpec) {
        self.flag("provider", &spec.provider);
        self.flag("model", &spec.model);
        self.maybe("base-url", spec.base_url.as_ref());
        self.maybe("api-key-env", spec.api_key_env.as_ref());
        self.maybe("runner", spec.runner.as_ref());
        self.maybe("threads", spec.threads.as_ref());
        self.maybe("python", spec.python.as_ref());
        self.maybe("retries", spec.server.retries.as_ref());
        self.maybe("requests-per-minute", spec.server.requests_per_minute.as_ref());
        self.maybe("tokens-per-minute", spec.server.tokens_per_minute.as_ref());
        self.maybe("job-requests", spec.server.job_requests.as_ref());
        if spec.server.batch_route == Some(true) {
            self.0.push("--batch-route".to_owned());
        }
    }

    fn sampling(&mut self, sampling: &Sampling) {
        let Sampling { max_tokens, temperature, top_k, top_p, min_p, seed, stop, ignore_eos } =
            sampling;
        self.flag("max-tokens", max_tokens);
        self.flag("temperature", temperature);
        self.maybe("top-k", top_k.as_ref());
        self.maybe("top-p", top_p.as_ref());
        self.maybe("min-p", min_p.as_ref());
        self.flag("seed", seed);
        stop.iter().for_each(|stop| self.flag("stop", stop));
        self.flag("ignore-eos", ignore_eos);
    }
}

fn on_error(on_error: OnError) -> &'static str {
    match on_error {
        OnError::Stop => "stop",
        OnError::Continue => "continue",
    }
}
