//! The library's front over the real local provider, on a model of random weights.

use batchgen::client::{BatchOptions, Client};
use batchgen::provider::{BatchSize, FailureKind, OpenProvider, ProviderSpec, Registry};
use batchgen::sampling::Sampling;
use tokio_util::sync::CancellationToken;

use crate::tiny_models::Tiny;
use crate::tiny_tokenizer;

async fn client(folder: &std::path::Path) -> Client {
    Tiny::llama(2, true).write_safetensors(folder);
    tiny_tokenizer::write(folder);
    let registry = Registry::new(folder.join("models"), &folder.join("models.toml")).unwrap();
    let model = folder.to_str().unwrap().to_owned();
    let spec = ProviderSpec { model, ..ProviderSpec::default() };
    Client::new(registry.open(&spec, &|_| {}, CancellationToken::new()).await.unwrap())
}

fn options(batch_size: usize) -> BatchOptions {
    BatchOptions {
        sampling: Sampling { max_tokens: 6, ..Sampling::default() },
        batch_size: BatchSize::new(batch_size),
        raw: true,
        ..BatchOptions::default()
    }
}

fn prompts() -> Vec<String> {
    (0..11).map(|row| vec![format!("w{}", row + 1); 1 + row % 4].join(" ")).collect()
}

#[tokio::test]
async fn a_list_gives_what_its_prompts_give_one_by_one_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let client = client(folder.path()).await;
    let batched = client.batch_generate(prompts(), &options(4)).await.unwrap();
    assert_eq!(batched.len(), 11);
    for (index, (prompt, response)) in prompts().into_iter().zip(&batched).enumerate() {
        assert_eq!(response.index, index);
        assert_eq!(response.usage.output_tokens, Some(6));
        let alone = client.batch_generate([prompt], &options(1)).await.unwrap();
        assert_eq!(alone[0].text, response.text, "row {index}");
    }
    assert!(client.batch_generate(Vec::<String>::new(), &options(4)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_prompt_that_fails_ends_the_list_or_stays_alone() {
    let folder = tempfile::tempdir().unwrap();
    let client = client(folder.path()).await;
    let mut list = prompts();
    list[5] = vec!["w1"; 300].join(" ");
    let failure = client.batch_generate(list.clone(), &options(2)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidRequest);
    let each = client.batch_generate_each(list, &options(2)).await.unwrap();
    let failed: Vec<_> = (0..each.len()).filter(|row| each[*row].is_err()).collect();
    assert_eq!(failed, [5]);
}

#[tokio::test]
async fn a_cancelled_list_says_so_and_parameters_out_of_range_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let client = client(folder.path()).await;
    let cancelled = options(2);
    cancelled.cancel.cancel();
    let failure = client.batch_generate(prompts(), &cancelled).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
    let sampling = Sampling { max_tokens: 0, ..Sampling::default() };
    let failure = client.generate("w1", &sampling).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::InvalidRequest);
}
