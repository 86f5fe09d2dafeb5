//! Prompt lists from files, as a user gives them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use batchgen::prompts::{
    BUILT_IN, Content, Format, Limits, LoadOptions, Message, PromptError, PromptList, PromptSource,
    Template, load, load_bytes,
};
use proptest::prelude::*;

/// Loads a file of this name and content.
fn file(name: &str, content: &str, options: &LoadOptions) -> Result<PromptList, PromptError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), content).unwrap();
    let result = load(&PromptSource::parse(name, Some(folder.path())), options);
    result.map_err(|error| PromptError { list: without(&error.list, folder.path()), ..error })
}

fn without(list: &str, folder: &Path) -> String {
    list.replace(&format!("{}/", folder.display()), "")
}

fn good(name: &str, content: &str) -> PromptList {
    file(name, content, &LoadOptions::default()).unwrap()
}

fn bad(name: &str, content: &str) -> String {
    file(name, content, &LoadOptions::default()).unwrap_err().to_string()
}

fn with_template(name: &str, content: &str, template: &str) -> Result<PromptList, PromptError> {
    let template = Some(Template::parse(template, None).unwrap());
    file(name, content, &LoadOptions { template, ..LoadOptions::default() })
}

fn with_column(name: &str, content: &str, column: &str) -> Result<PromptList, PromptError> {
    file(name, content, &LoadOptions { column: Some(column.into()), ..LoadOptions::default() })
}

fn texts(list: &PromptList) -> Vec<&str> {
    list.prompts.iter().map(|prompt| prompt.content.display()).collect()
}

fn ids(list: &PromptList) -> Vec<&str> {
    list.prompts.iter().map(|prompt| prompt.id.as_str()).collect()
}

#[test]
fn a_text_file_is_a_prompt_a_line_whatever_the_line_ends_and_the_mark() {
    let list = good("p.txt", "\u{feff}first\r\n\r\n  second \n\t\nfirst");
    assert_eq!(list.name, "p.txt");
    assert_eq!(texts(&list), ["first", "  second ", "first"]);
    assert_eq!(ids(&list), ["row-1", "row-2", "row-3"]);
    assert!(list.prompts.iter().enumerate().all(|(place, prompt)| prompt.index == place));
}

#[test]
fn lines_of_three_dashes_make_blocks() {
    let list = good("p.txt", "---\n\none\r\n\r\ntwo\r\n\n---\r\n---\n----\n --- \n");
    assert_eq!(texts(&list), ["one\n\ntwo", "----\n --- "]);
}

#[test]
fn json_lines_hold_strings_prompts_texts_messages_and_batch_requests() {
    let list = good(
        "p.jsonl",
        r#""a string"
{"prompt": "a prompt", "id": "x", "expect": "word", "extra": [1]}

{"text": "a text", "id": 7}
{"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]}
{"custom_id": "q", "body": {"model": "m", "messages": [{"role": "user", "content": "yo"}]}}
"#,
    );
    assert_eq!(texts(&list), ["a string", "a prompt", "a text", "hi", "yo"]);
    assert_eq!(ids(&list), ["row-1", "x", "7", "row-4", "q"]);
    assert_eq!(list.prompts[1].expect.as_deref(), Some("word"));
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let messages = vec![message("system", "be kind"), message("user", "hi")];
    assert_eq!(list.prompts[3].content, Content::Messages(messages));
}

#[test]
fn a_json_file_is_an_array_or_holds_one_under_prompts() {
    let array = r#"["one", {"prompt": "two"}]"#;
    let object = format!(r#"{{"version": {{"a": [1]}}, "prompts": {array}, "more": null}}"#);
    assert_eq!(texts(&good("p.json", array)), ["one", "two"]);
    assert_eq!(texts(&good("p.json", &object)), ["one", "two"]);
}

#[test]
fn a_bad_record_of_a_json_file_is_named_by_its_line() {
    let error = bad("p.json", "[\n  \"one\",\n\n  {\"question\": \"two\"}\n]");
    assert!(error.starts_with("p.json:4: there is no \"messages\" or \"prompt\" or"), "{error}");
    let error = bad("p.json", "[\n  \"one\",\n  \"two\n]");
    assert!(error.starts_with("p.json:3: not valid JSON:"), "{error}");
    let error = bad("p.json", "{\"items\": []}");
    assert!(error.contains("the object has no \"prompts\""), "{error}");
    let error = bad("p.json", "\"just a string\"");
    assert!(error.contains("an array of prompts"), "{error}");
}

#[test]
fn a_bad_json_line_names_file_and_line() {
    let error = bad("p.jsonl", "\"one\"\n\n{\"prompt\": }\n\"two\"\n");
    assert!(error.starts_with("p.jsonl:3: not valid JSON: expected value at column"), "{error}");
    let error = bad("p.jsonl", "42\n");
    assert!(error.starts_with("p.jsonl:1: a number is not a prompt"), "{error}");
}

#[test]
fn a_repeated_custom_id_names_both_lines_and_a_repeated_id_is_legal() {
    let line = r#"{"custom_id": "a", "body": {"prompt": "x"}}"#;
    let error = bad("p.jsonl", &format!("{line}\n\"between\"\n{line}\n"));
    assert_eq!(error, "p.jsonl:3: custom_id \"a\" is already the one of line 1: make it unique");
    let line = r#"{"id": "a", "prompt": "x"}"#;
    assert_eq!(ids(&good("p.jsonl", &format!("{line}\n{line}\n"))), ["a", "a"]);
}

#[test]
fn a_table_takes_the_usual_column_or_the_only_one_or_the_chosen_one() {
    let table = "id,text,prompt,expect\nx,no,\"yes, \"\"quoted\"\"\nand long\",w\n,no,again,\n";
    let list = good("p.csv", table);
    assert_eq!(texts(&list), ["yes, \"quoted\"\nand long", "again"]);
    assert_eq!(ids(&list), ["x", "row-2"]);
    assert_eq!(list.prompts[0].expect.as_deref(), Some("w"));
    assert_eq!(list.prompts[1].expect, None);
    assert_eq!(texts(&good("p.csv", "question\nwhy?\n")), ["why?"]);
    let chosen = with_column("p.tsv", "a\tprompt\nyes, this\tno\n", "a").unwrap();
    assert_eq!(texts(&chosen), ["yes, this"]);
}

#[test]
fn a_table_without_the_column_lists_those_it_has() {
    assert_eq!(
        bad("p.csv", "title,author\na,b\n"),
        "p.csv:1: no column is called \"prompt\" or \"text\": choose one of \"title\", \"author\" \
         with --column"
    );
    let error = with_column("p.csv", "prompt,author\na,b\n", "body").unwrap_err().to_string();
    assert_eq!(
        error,
        "p.csv:1: there is no column \"body\"; its columns are \"prompt\", \"author\""
    );
}

#[test]
fn a_ragged_table_names_the_line_of_the_record() {
    let error = bad("p.csv", "prompt,id\n\"two\nlines\",a\nHello, world, again,b\n");
    assert!(error.starts_with("p.csv:4: the record has 4 fields, the header has 2"), "{error}");
}

#[test]
fn plain_text_has_no_column_to_choose() {
    let error = with_column("p.txt", "one\n", "prompt").unwrap_err().to_string();
    assert_eq!(error, "p.txt: plain text has no column \"prompt\": leave --column out");
}

#[test]
fn a_folder_is_a_prompt_a_file_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).unwrap();
    write("b.txt", "second\r\nfile\r\n\r\n");
    write("a.md", "\u{feff}first");
    write(".hidden", "\0");
    fs::create_dir(folder.path().join("c")).unwrap();
    let source = PromptSource::Path(folder.path().to_owned());
    let list = load(&source, &LoadOptions::default()).unwrap();
    assert_eq!(texts(&list), ["first", "second\nfile"]);
    assert_eq!(ids(&list), ["a.md", "b.txt"]);
    fs::write(folder.path().join("d.png"), b"\x89PNG").unwrap();
    let error = load(&source, &LoadOptions::default()).unwrap_err();
    assert!(error.list.ends_with("d.png"), "{error}");
    assert!(error.reason.contains("not valid UTF-8"), "{error}");
}

#[test]
fn nothing_is_an_empty_list_in_every_format() {
    let empty = [
        ("p.txt", ""),
        ("p.txt", "\n \n"),
        ("p.txt", "---\n\n---\n"),
        ("p.jsonl", "\n"),
        ("p.json", "[]"),
        ("p.json", " "),
        ("p.json", "{\"prompts\": []}"),
        ("p.csv", ""),
        ("p.csv", "prompt\n"),
        ("p.tsv", "prompt\tid\n"),
    ];
    for (name, content) in empty {
        assert!(good(name, content).is_empty(), "{name} {content:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let source = PromptSource::Path(folder.path().to_owned());
    assert!(load(&source, &LoadOptions::default()).unwrap().is_empty());
}

#[test]
fn an_empty_prompt_in_a_record_names_its_line() {
    for (name, content) in [("p.jsonl", "\"a\"\n\" \"\n"), ("p.csv", "prompt,id\na,\n,x\n")] {
        let error = bad(name, content);
        assert!(error.ends_with(": the prompt is empty: fill it or take it out"), "{error}");
    }
}

#[test]
fn invalid_utf8_names_file_line_and_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.txt");
    fs::write(&path, b"one\ntwo\nth\xe9rmal\n").unwrap();
    let error = load(&PromptSource::Path(path.clone()), &LoadOptions::default()).unwrap_err();
    assert_eq!(error.line, Some(3));
    assert!(error.to_string().starts_with(&format!("{}:3: not valid UTF-8", path.display())));
    assert!(error.reason.contains("byte 0xe9 at byte 3 of the line"), "{error}");
}

#[test]
fn the_extension_decides_and_an_unknown_one_is_refused() {
    assert_eq!(texts(&good("p.txt", "{\"prompt\": \"x\"}")), ["{\"prompt\": \"x\"}"]);
    assert_eq!(texts(&good("p", "one")), ["one"]);
    assert_eq!(texts(&good("P.JSONL", "\"one\"")), ["one"]);
    let error = bad("p.docx", "one");
    assert!(error.contains(".txt, .jsonl, .json, .csv or .tsv, not in .docx"), "{error}");
}

#[test]
fn a_missing_file_is_named_and_a_misspelt_list_is_guessed() {
    let load = |name: &str| {
        load(&PromptSource::parse(name, None), &LoadOptions::default()).unwrap_err().to_string()
    };
    let error = load("no-such-folder/p.txt");
    assert!(error.starts_with("no-such-folder/p.txt: cannot be read: No such file"), "{error}");
    assert!(load("quickstrat").contains("did you mean the built-in list \"quickstart\"?"));
    assert!(load("xyzzy").contains("the built-in lists are quickstart, summarise, canary"));
}

#[test]
fn what_is_larger_than_a_limit_is_refused_with_the_limit() {
    let limited = |content: &str, limits: Limits| {
        let options = LoadOptions { limits, ..LoadOptions::default() };
        file("p.txt", content, &options).unwrap_err().to_string()
    };
    let limits = Limits { prompt_bytes: 1 << 20, ..Limits::default() };
    let huge = format!("short\n{}\n", "x".repeat((1 << 20) + 1));
    assert_eq!(limited(&huge, limits), "p.txt:2: the prompt has 1048577 bytes, the limit is 1 MiB");
    let limits = Limits { prompts: 2, ..Limits::default() };
    assert_eq!(
        limited("1\n2\n3\n", limits),
        "p.txt:3: more than 2 prompts, the limit of a list: split it"
    );
    let limits = Limits { list_bytes: 4, ..Limits::default() };
    let error = limited("12345", limits);
    assert_eq!(error, "p.txt: larger than 4 bytes, the limit of a prompt list: split it");
    let limits = Limits { record_bytes: 20, ..Limits::default() };
    let options = LoadOptions { limits, ..LoadOptions::default() };
    let record = "{\"prompt\": \"x\", \"more\": [0,0,0,0]}";
    for (name, content) in [("p.jsonl", record.to_owned()), ("p.json", format!("[{record}]"))] {
        let error = file(name, &content, &options).unwrap_err().to_string();
        assert!(error.ends_with("the limit is 20 bytes"), "{error}");
    }
}

#[test]
fn the_default_limits_refuse_a_line_of_more_than_four_mebibytes() {
    let huge = "x".repeat((4 << 20) + 1);
    assert_eq!(bad("p.txt", &huge), "p.txt:1: the prompt has 4194305 bytes, the limit is 4 MiB");
}

#[test]
fn a_template_makes_the_prompt_from_all_fields() {
    let list = with_template(
        "p.csv",
        "title,text,id\nOwls,They hunt.,o\nBees,They hum.,b\n",
        "{{ index }} {{ id }} {{ title|upper }}: {{ text }} {{ prompt }}",
    )
    .unwrap();
    assert_eq!(texts(&list), ["0 o OWLS: They hunt. They hunt.", "1 b BEES: They hum. They hum."]);
    let record = r#"{"title": "T", "tags": ["a", "b"], "n": {"m": 3}}"#;
    let list = with_template("p.jsonl", record, "{{ title }} {{ tags|join('+') }} {{ n.m }}");
    assert_eq!(texts(&list.unwrap()), ["T a+b 3"]);
    let list = with_template("p.txt", "a line\n", "Summarize: {{ text }}").unwrap();
    assert_eq!(texts(&list), ["Summarize: a line"]);
    let messages = r#"{"messages": [{"role": "user", "content": "hi"}]}"#;
    let list = with_template("p.jsonl", messages, "{{ text }} {{ messages[0].role }}").unwrap();
    assert_eq!(texts(&list), ["hi user"]);
}

#[test]
fn a_template_comes_from_a_file_where_it_has_no_braces() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.jinja"), "Translate: {{ text }}\n").unwrap();
    let template = Some(Template::parse("t.jinja", Some(folder.path())).unwrap());
    let options = LoadOptions { template, ..LoadOptions::default() };
    assert_eq!(texts(&file("p.txt", "one", &options).unwrap()), ["Translate: one"]);
    let error = Template::parse("missing.jinja", None).unwrap_err().to_string();
    assert!(error.starts_with("missing.jinja: cannot be read"), "{error}");
}

#[test]
fn an_undefined_variable_is_named_with_the_line_and_those_there_are() {
    let records = "{\"title\": \"a\", \"body\": \"b\"}\n{\"title\": \"c\"}\n";
    let error = with_template("p.jsonl", records, "{{ title }}: {{ body }}").unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("p.jsonl:2: template: "), "{error}");
    assert!(error.contains("body"), "{error}");
    assert!(error.ends_with("the variables here are title, index, id"), "{error}");
}

#[test]
fn a_template_that_is_not_valid_is_refused_before_any_record_is_read() {
    let error = Template::parse("fine\n{{ text | }}", None).unwrap_err();
    assert_eq!((error.list.as_str(), error.line), ("template", Some(2)), "{error}");
    let error = Template::parse("{{ text|frobnicate }}", None);
    let error = match error {
        Err(error) => error.to_string(),
        Ok(_) => with_template("p.txt", "x", "{{ text|frobnicate }}").unwrap_err().to_string(),
    };
    assert!(error.contains("frobnicate"), "{error}");
}

#[test]
fn rendering_is_bounded_in_time_and_memory() {
    let runaway = [
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ text }}{% endfor %}{% endfor %}",
        "{{ text * 1000000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace(t=text) %}{% for a in range(99) %}{% set ns.t = ns.t ~ ns.t %}\
         {% endfor %}{{ ns.t }}",
    ];
    for template in runaway {
        let error = with_template("p.txt", "x\n", template).unwrap_err().to_string();
        assert!(error.starts_with("p.txt:1: template: "), "{template}: {error}");
    }
    let error = with_template("p.txt", "x\n", "{{ text * 5000000 }}").unwrap_err().to_string();
    assert!(error.contains("the limit is 4 MiB"), "{error}");
}

#[test]
fn the_built_in_lists_are_what_they_say() {
    let list =
        |name: &str| load(&PromptSource::parse(name, None), &LoadOptions::default()).unwrap();
    assert_eq!(BUILT_IN.each_ref().map(|list| list.name), ["quickstart", "summarise", "canary"]);

    let quickstart = list("quickstart");
    assert_eq!(quickstart.len(), 32);
    let mut different = texts(&quickstart);
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 32);

    let summarise = list("summarise");
    assert_eq!(summarise.len(), 16);
    let instruction = "Summarise the following text in one sentence.\n\n";
    assert!(texts(&summarise).iter().all(|text| text.starts_with(instruction)));

    let canary = list("canary");
    assert_eq!(canary.len(), 32);
    for prompt in &canary.prompts {
        let word = prompt.expect.as_deref().unwrap();
        let holders = texts(&canary).into_iter().filter(|text| text.contains(word)).count();
        assert_eq!(holders, 1, "only one prompt may ask for {word}");
        assert!(prompt.content.display().contains(word));
    }
}

/// A list of 100,000 prompts in every format.
fn large_lists() -> Vec<(&'static str, String)> {
    let line = |place: usize| format!("What is {place} times {place}, and how do you know?");
    let rows = || (0..100_000).map(line);
    let join = |lines: &mut dyn Iterator<Item = String>, between: &str| {
        lines.collect::<Vec<_>>().join(between)
    };
    let record =
        |(place, text)| format!(r#"{{"custom_id": "q-{place}", "body": {{"prompt": "{text}"}}}}"#);
    vec![
        ("p.txt", join(&mut rows(), "\n")),
        ("blocks.txt", join(&mut rows(), "\n---\n")),
        ("p.jsonl", join(&mut rows().enumerate().map(record), "\n")),
        ("p.json", format!("[{}]", join(&mut rows().enumerate().map(record), ",\n"))),
        ("p.csv", format!("prompt\n{}", join(&mut rows().map(|row| format!("\"{row}\"")), "\n"))),
    ]
}

#[test]
fn a_hundred_thousand_prompts_keep_their_order_in_every_format() {
    for (name, content) in large_lists() {
        let list = good(name, &content);
        assert_eq!(list.len(), 100_000, "{name}");
        let last = "What is 99999 times 99999, and how do you know?";
        assert_eq!(list.prompts[99_999].content.display(), last, "{name}");
    }
}

/// Shows how long large lists take; run with `--ignored --nocapture` in release.
#[test]
#[ignore = "prints times, asserts nothing"]
fn a_hundred_thousand_prompts_load_in_this_time() {
    let template = || Some(Template::parse("Answer in one word: {{ text }}", None).unwrap());
    for (name, content) in large_lists() {
        for template in [None, template()] {
            let options = LoadOptions { template, ..LoadOptions::default() };
            let start = Instant::now();
            let list = file(name, &content, &options).unwrap();
            let took = start.elapsed();
            let with = if options.template.is_some() { " with a template" } else { "" };
            println!("{name}{with}: {} prompts in {took:.1?}", list.len());
        }
    }
}

const FORMATS: [Format; 5] =
    [Format::Text, Format::JsonLines, Format::Json, Format::Csv, Format::Tsv];

/// Loads bytes in every format, plain and with a template; any result will do.
fn load_anyhow(content: &[u8]) {
    let template = Template::compile("t", "{{ text }}{{ index }}").unwrap();
    for format in FORMATS {
        for template in [None, Some(template.clone())] {
            for column in [None, Some("a".to_owned())] {
                let options =
                    LoadOptions { column, template: template.clone(), ..Default::default() };
                if let Ok(list) = load_bytes("fuzz", format, content, &options) {
                    assert!(list.prompts.iter().enumerate().all(|(i, prompt)| prompt.index == i));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_loader_panic(content in proptest::collection::vec(any::<u8>(), 0..400)) {
        load_anyhow(&content);
    }

    #[test]
    fn no_text_that_looks_like_a_list_makes_a_loader_panic(
        content in "([\\[\\]{}\",:\\\\a0é\n\r\t \u{feff}-]|\"prompt\"|\"messages\"|\"text\"|\"body\"|---|null){0,60}"
    ) {
        load_anyhow(content.as_bytes());
    }

    #[test]
    fn no_template_makes_the_compiler_or_the_renderer_panic(
        source in "([{}%|()\\[\\]~*'\"a0. \n-]|text|index|\\{\\{|\\}\\}|\\{%|%\\}|for|in|if|set|end){0,40}"
    ) {
        if let Ok(template) = Template::compile("t", &source) {
            let options = LoadOptions { template: Some(template), ..LoadOptions::default() };
            let _ = load_bytes("fuzz", Format::Text, b"one\ntwo\n", &options);
        }
    }

    #[test]
    fn what_a_text_list_holds_comes_back(lines in proptest::collection::vec("[ -~é]{1,40}", 0..20)) {
        let lines: Vec<_> = lines.into_iter().filter(|line| !line.trim().is_empty() && line != "---").collect();
        let list = load_bytes("p", Format::Text, lines.join("\n").as_bytes(), &LoadOptions::default()).unwrap();
        prop_assert_eq!(texts(&list), lines.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
