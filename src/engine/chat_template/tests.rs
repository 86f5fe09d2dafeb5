//! Well-known templates, rendered as Jinja2 renders them.
//!
//! `fixtures/*.jinja` are the templates of SmolLM2, Llama 3 and 3.2, Qwen2.5 and Qwen3, Mistral
//! 0.2 and 0.3 and Phi-3 (what only tools reach is shortened), and a ChatML written over
//! several lines. `fixtures/rendered.json` was made from them with Jinja2 3.1 and the settings
//! of `transformers`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Fixtures {
    conversations: BTreeMap<String, Vec<Message>>,
    rendered: BTreeMap<String, BTreeMap<String, Expected>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Text(String),
    Refused { refused: String },
}

const TEMPLATES: [(&str, &str); 9] = [
    ("chatml", include_str!("fixtures/chatml.jinja")),
    ("llama-3", include_str!("fixtures/llama-3.jinja")),
    ("llama-3.2", include_str!("fixtures/llama-3.2.jinja")),
    ("mistral-0.2", include_str!("fixtures/mistral-0.2.jinja")),
    ("mistral-0.3", include_str!("fixtures/mistral-0.3.jinja")),
    ("phi-3", include_str!("fixtures/phi-3.jinja")),
    ("qwen2.5", include_str!("fixtures/qwen2.5.jinja")),
    ("qwen3", include_str!("fixtures/qwen3.jinja")),
    ("smollm2", include_str!("fixtures/smollm2.jinja")),
];

fn template(text: &str) -> ChatTemplate {
    ChatTemplate::new(text.to_owned(), "<s>", "</s>").unwrap()
}

fn user(content: &str) -> Vec<Message> {
    vec![Message { role: "user".into(), content: content.into() }]
}

fn failure(text: &str) -> String {
    template(text).render(&user("hi")).unwrap_err().to_string()
}

#[test]
fn well_known_templates_are_rendered_as_by_jinja2() {
    let fixtures: Fixtures = serde_json::from_str(include_str!("fixtures/rendered.json")).unwrap();
    let today = jiff::ZonedDateTime::now().strftime("%d %b %Y").to_string();
    for (name, text) in TEMPLATES {
        let template = template(text);
        for (conversation, messages) in &fixtures.conversations {
            let rendered = template.render(messages);
            match &fixtures.rendered[name][conversation] {
                Expected::Text(expected) => {
                    let expected = expected.replace("TODAY", &today);
                    assert_eq!(rendered, Ok(expected), "{name}, {conversation}");
                }
                Expected::Refused { refused } => {
                    let error = rendered.unwrap_err().to_string();
                    assert!(error.contains(refused), "{name}, {conversation}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_template_that_never_ends_is_stopped() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    assert!(failure(loops).contains("fuel"), "{}", failure(loops));
    let grows = "{% set ns = namespace(x='x') %}{% for a in range(90) %}\
                 {% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}";
    assert!(failure(grows).contains("fuel"), "{}", failure(grows));
}

#[test]
fn a_failure_names_the_line_of_the_template() {
    let error = failure("{{ bos_token }}\n{{ messages[0].tools.names }}");
    assert_eq!(
        error,
        "the model's chat template does not take this conversation: \
         undefined value (line 2 of the template)"
    );
}

#[test]
fn a_text_that_is_no_template_is_an_error_of_the_model() {
    let error = ChatTemplate::new("{% if %}".into(), "", "").unwrap_err();
    assert!(error.to_string().starts_with("the chat template has an error: "), "{error}");
    let long = ChatTemplate::new("x".repeat(MOST_TEMPLATE_BYTES + 1), "", "").unwrap_err();
    assert!(long.to_string().contains("1048577 bytes"), "{long}");
}

#[test]
fn a_long_conversation_is_rendered() {
    let messages: Vec<Message> = (0..2000).flat_map(|_| user(&"word ".repeat(200))).collect();
    let text = template(TEMPLATES[6].1).render(&messages).unwrap();
    assert!(text.len() > 2_000_000);
}
