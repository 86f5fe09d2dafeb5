//! A look at a model before it is loaded.

use batchgen::client::{BatchOptions, Client};
use batchgen::engine::inspection::Inspection;
use batchgen::engine::source::Weights;
use batchgen::engine::store::{Catalogue, Store};
use batchgen::prompts::{Content, Message};
use batchgen::provider::{OpenProvider, ProviderSpec, Registry};
use batchgen::sampling::Sampling;
use candle_core::quantized::GgmlDType;
use tokio_util::sync::CancellationToken;

use crate::tiny_models::{Tiny, source};
use crate::tiny_tokenizer;

#[tokio::test]
async fn a_prompt_counts_as_many_tokens_as_the_model_is_then_given() {
    let folder = tempfile::tempdir().unwrap();
    Tiny::llama(2, true).write_safetensors(folder.path());
    tiny_tokenizer::write(folder.path());
    let model = folder.path().to_str().unwrap().to_owned();
    let store = Store::new(folder.path().join("models"), Catalogue::built_in().unwrap());
    let found = store.find(&model).unwrap().unwrap();
    let inspection = Inspection::take(&found).unwrap();
    assert_eq!(
        (inspection.architecture.as_str(), inspection.quantization.as_str()),
        ("llama", "F32")
    );

    let prompts: Vec<String> = (1..9).map(|words| vec!["w3"; words].join(" ")).collect();
    let catalogue = folder.path().join("models.toml");
    let registry = Registry::new(folder.path().join("models"), &catalogue).unwrap();
    let spec = ProviderSpec { model, ..ProviderSpec::default() };
    let client =
        Client::new(registry.open(&spec, &|_| {}, CancellationToken::new()).await.unwrap());
    let sampling = Sampling { max_tokens: 1, ..Sampling::default() };
    let options = BatchOptions { sampling, raw: true, ..BatchOptions::default() };
    let responses = client.batch_generate(prompts.clone(), &options).await.unwrap();
    for (prompt, response) in prompts.into_iter().zip(responses) {
        let tokens = inspection.tokens(&Content::Text(prompt), true).unwrap();
        assert_eq!(Some(tokens), response.usage.prompt_tokens);
    }
    let conversation = vec![Message { role: "user".into(), content: "w1".into() }];
    let error = inspection.tokens(&Content::Messages(conversation), false).unwrap_err();
    assert!(error.to_string().contains("no chat template"), "{error}");
}

#[test]
fn what_cannot_be_loaded_is_refused_at_the_first_look() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    Tiny::llama(2, true).write_gguf(path.clone(), GgmlDType::Q4_1);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    let Err(error) = Inspection::take(&source(Weights::Gguf(path))) else {
        panic!("a truncated file was accepted")
    };
    assert!(error.to_string().contains("truncated"), "{error}");
}
