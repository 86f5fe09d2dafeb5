//! `providers`: who can generate today, what batching means there, and the models of one.

use std::io::Write;

use crate::provider::{ListedModel, ProviderSpec};

/// A provider, as the table shows it.
struct Row {
    name: &'static str,
    runs: &'static str,
    needs: &'static str,
    batching: &'static str,
    offline: &'static str,
}

const NONE: &str = "none";

const WINDOW: &str = "window: up to that many single requests at once";

const PROVIDERS: &[Row] = &[
    Row {
        name: "local",
        runs: "GGUF and safetensors models in this process",
        needs: "nothing: --model names a model, which is fetched if need be",
        batching: "native: the rows of a batch share each forward pass, and a finished row's \
                   slot is refilled at once; architectures that only run one row at a time \
                   refuse batches and say so",
        offline: NONE,
    },
    Row {
        name: "openai",
        runs: "OpenAI, and servers that speak its API: llama.cpp, vLLM, SGLang, TGI, mlx_lm, …",
        needs: "--base-url of the server, or OPENAI_API_KEY and --model for OpenAI itself",
        batching: "window: up to that many single requests at once; with --raw, prompt_array: \
                   one request carries that many prompts, where the server takes it",
        offline: "the Batch API, at half the price",
    },
    Row {
        name: "anthropic",
        runs: "Anthropic's messages API, from the vendor or a server that speaks it",
        needs: "--base-url of the server, or ANTHROPIC_API_KEY and --model for Anthropic itself",
        batching: WINDOW,
        offline: "Message Batches, at half the price",
    },
    Row {
        name: "ollama",
        runs: "Ollama, over its native API",
        needs: "a running server; --base-url where it is not http://127.0.0.1:11434",
        batching: WINDOW,
        offline: NONE,
    },
    Row {
        name: "lmstudio",
        runs: "LM Studio",
        needs: "a running server; --base-url where it is not http://127.0.0.1:1234",
        batching: WINDOW,
        offline: NONE,
    },
    Row {
        name: "mlx",
        runs: "safetensors models in mlx-lm, on Apple silicon or a Linux CPU",
        needs: "a Python with mlx-lm: --python or BATCHGEN_PYTHON names it, else python3; --model \
                is a folder or a Hugging Face repository",
        batching: "native: the rows of a batch share each forward pass of mlx-lm's \
                   BatchGenerator, and a finished row's slot is refilled at once",
        offline: NONE,
    },
];

/// Prints the providers that work today.
///
/// # Errors
/// The output cannot be written.
pub fn list(out: &mut impl Write) -> anyhow::Result<()> {
    for Row { name, runs, needs, batching, offline } in PROVIDERS {
        writeln!(out, "{name}\n  runs:     {runs}\n  needs:    {needs}\n  batching: {batching}")?;
        writeln!(out, "  offline:  {offline}")?;
    }
    writeln!(out, "\nkeys: --api-key-env names the environment variable that holds the key")?;
    Ok(())
}

/// Prints a line a model that the provider could run, with what is known of it.
///
/// # Errors
/// The output cannot be written.
pub fn models(
    spec: &ProviderSpec,
    models: &[ListedModel],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let widest = models.iter().map(|model| model.name.chars().count()).max().unwrap_or(0);
    for ListedModel { name, facts } in models {
        let line = format!("{name:<widest$}  {}", facts.join(", "));
        writeln!(out, "{}", line.trim_end())?;
    }
    if models.is_empty() {
        let at = spec.base_url.as_deref().map(|url| format!(" at {url}")).unwrap_or_default();
        writeln!(out, "{}{at} lists no model", spec.provider)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::registry;

    #[test]
    fn every_provider_of_the_registry_is_in_the_table() {
        let names: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
        assert_eq!(names, registry::NAMES);
    }
}
