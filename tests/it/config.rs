//! From flags, presets and settings to the plan of a run.

use std::fs;
use std::path::Path;

use batchgen::cli;
use batchgen::cli::args::{Cli, Command};
use batchgen::config::{
    LaneEntry, LaneSpec, Layer, OnError, Paths, Plan, ProviderLayer, Resolved, RunRequest,
    Settings, command_line, preset, resolve,
};
use batchgen::provider::ProviderSpec;
use batchgen::sampling::Sampling;
use clap::Parser;
use proptest::prelude::*;

/// A user's home of its own.
struct Home {
    folder: tempfile::TempDir,
    paths: Paths,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::under(folder.path().to_owned());
        fs::create_dir_all(paths.presets()).unwrap();
        Self { folder, paths }
    }

    fn settings(self, text: &str) -> Self {
        fs::write(self.paths.settings(), text).unwrap();
        self
    }

    fn preset(self, name: &str, text: &str) -> Self {
        fs::write(self.paths.presets().join(format!("{name}.toml")), text).unwrap();
        self
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self, flags: &[&str]) -> anyhow::Result<Resolved> {
        let words = ["batchgen-tui", "run"].iter().chain(flags);
        let Ok(Cli { command: Some(Command::Run(args)), .. }) = Cli::try_parse_from(words) else {
            panic!("not flags of a run: {flags:?}");
        };
        resolve(&args.run.request(), &self.paths)
    }

    fn plan(&self, flags: &[&str]) -> Plan {
        self.run(flags).unwrap().plan
    }

    /// The error of a run, with paths relative to the home.
    fn error(&self, flags: &[&str]) -> String {
        let error = format!("{:#}", self.run(flags).unwrap_err());
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn labels(plan: &Plan) -> Vec<&str> {
    plan.lanes.iter().map(|lane| lane.label.as_str()).collect()
}

#[test]
fn without_anything_it_is_the_quickstart() {
    let home = Home::new();
    let resolved = resolve(&RunRequest::default(), &home.paths).unwrap();
    let lanes = ["sequential", "async:8", "batched:16"];
    let expected = Plan {
        name: "quickstart".into(),
        prompts: "quickstart".into(),
        column: None,
        template: None,
        raw: false,
        provider: ProviderSpec::default(),
        sampling: Sampling::default(),
        lanes: lanes.map(|lane| lane.parse::<LaneSpec>().unwrap()).into(),
        repeats: 1,
        warmup: 1,
        on_error: OnError::Stop,
        max_cost_usd: None,
    };
    assert_eq!(resolved.plan, expected);
    assert_eq!(resolved.plan.sampling.max_tokens, 64);
    assert_eq!(resolved.prompts.len(), 32);
}

#[test]
fn every_embedded_preset_resolves_to_prompts_and_lanes() {
    let home = Home::new();
    for info in preset::list(&home.paths).unwrap() {
        let resolved = home.run(&["--preset", &info.name]).unwrap();
        assert!(!resolved.prompts.is_empty(), "{}", info.name);
        assert!(info.load().unwrap().description.is_some(), "{}", info.name);
    }
}

#[test]
fn every_preset_file_of_the_repository_is_embedded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !matches!(name.as_str(), "models" | "prices"))
        .collect();
    names.sort();
    let presets = preset::list(&Home::new().paths).unwrap();
    let mut embedded: Vec<_> = presets.into_iter().map(|preset| preset.name).collect();
    embedded.sort();
    assert_eq!(embedded, names);
}

#[test]
fn flags_go_over_the_preset_over_the_settings_over_the_defaults() {
    let home = Home::new()
        .settings(
            "on_error = \"continue\"\nrepeats = 2\n\
             [sampling]\nmax_tokens = 10\nseed = 1\ntop_k = 5\n",
        )
        .preset("mine", "repeats = 3\n[sampling]\nmax_tokens = 20\nseed = 2\n");
    let plan = home.plan(&["--preset", "mine", "--max-tokens", "30"]);
    assert_eq!(plan.sampling.max_tokens, 30, "from the flag");
    assert_eq!(plan.sampling.seed, 2, "from the preset");
    assert_eq!(plan.repeats, 3, "from the preset");
    assert_eq!(plan.sampling.top_k, Some(5), "from the settings");
    assert_eq!(plan.on_error, OnError::Continue, "from the settings");
    assert_eq!(plan.sampling.temperature, 0.0, "from the defaults");
    assert_eq!(labels(&plan), ["sequential", "async 8", "batched 16"], "from the defaults");
}

#[test]
fn the_settings_may_name_the_preset_and_a_flag_another() {
    let home = Home::new().settings("preset = \"canary\"\ntheme = \"dark\"\n");
    assert_eq!(home.plan(&[]).name, "canary");
    assert_eq!(home.plan(&["--preset", "summarise"]).name, "summarise");
    assert_eq!(Settings::load(&home.paths).unwrap().theme.as_deref(), Some("dark"));
}

#[test]
fn another_provider_does_not_inherit_a_model_an_address_or_a_key() {
    let home = Home::new().settings(
        "[provider]\nprovider = \"openai\"\nmodel = \"m\"\nbase_url = \"https://a.example/v1\"\n\
         api_key_env = \"A_KEY\"\n",
    );
    let provider = home.plan(&[]).provider;
    assert_eq!(provider.api_key_env.as_deref(), Some("A_KEY"));
    let other = home.plan(&["--provider", "other", "--model", "n"]).provider;
    assert_eq!(
        other,
        ProviderSpec { provider: "other".into(), model: "n".into(), ..ProviderSpec::default() }
    );
    assert_eq!(home.plan(&["--provider", "local"]).provider, ProviderSpec::default());
    let same = home.plan(&["--provider", "openai", "--model", "n"]).provider;
    assert_eq!(same, ProviderSpec { model: "n".into(), ..provider });
}

#[test]
fn the_settings_model_stays_when_the_same_provider_is_named_again() {
    let home = Home::new().settings("[provider]\nmodel = \"mine.gguf\"\n");
    assert_eq!(home.plan(&["--provider", "local"]).provider.model, "mine.gguf");
    assert_eq!(home.plan(&["--threads", "2"]).provider.model, "mine.gguf");
}

#[test]
fn a_lane_may_be_a_table_with_a_label_and_a_provider() {
    let home = Home::new().preset(
        "two",
        "lanes = [\"one=batched:8\", { mode = \"batched:8\", label = \"two\", \
         provider = { model = \"other.gguf\" } }]\n[provider]\nthreads = 2\n",
    );
    let plan = home.plan(&["--preset", "two"]);
    assert_eq!(labels(&plan), ["one", "two"]);
    assert_eq!(plan.provider_of(0), &plan.provider);
    let expected = ProviderSpec { model: "other.gguf".into(), ..plan.provider.clone() };
    assert_eq!(plan.provider_of(1), &expected);
    assert_eq!(expected.threads, Some(2));
}

#[test]
fn a_user_preset_takes_the_place_of_an_embedded_one_and_adds_to_the_list() {
    let home = Home::new()
        .preset("canary", "description = \"my own\"\nlanes = [\"batched:2\"]\n")
        .preset("zebra", "");
    let presets = preset::list(&home.paths).unwrap();
    let names: Vec<_> = presets.iter().map(|preset| preset.name.as_str()).collect();
    let servers =
        ["llama-server", "vllm", "sglang", "tgi", "lmstudio", "ollama", "openai", "anthropic"];
    assert_eq!(names[..4], ["quickstart", "summarise", "canary", "batch-sizes"]);
    assert_eq!(names[4..12], servers);
    assert_eq!(names[12..], ["zebra"]);
    assert_eq!(labels(&home.plan(&["--preset", "canary"])), ["batched 2"]);
}

#[test]
fn paths_in_a_preset_file_are_relative_to_it() {
    let home = Home::new();
    home.write("list.csv", "question,n\nwhy?,1\n");
    home.write("t.jinja", "Q: {{ text }}");
    let preset = home.write(
        "mine.toml",
        "prompts = \"list.csv\"\ncolumn = \"question\"\ntemplate = \"t.jinja\"\n",
    );
    let resolved = home.run(&["--preset", &preset]).unwrap();
    assert_eq!(resolved.plan.name, "mine");
    assert_eq!(resolved.prompts.name, "list.csv");
    assert_eq!(resolved.prompts.prompts[0].content.display(), "Q: why?");
    // the column belongs to the preset's list, the template is a recipe for any list
    let other = home.write("other.txt", "how?\n");
    let resolved = home.run(&["--preset", &preset, "--prompts", &other]).unwrap();
    assert_eq!(resolved.plan.name, "other.txt");
    assert_eq!(resolved.plan.prompts, other);
    assert_eq!(resolved.prompts.prompts[0].content.display(), "Q: how?");
}

#[test]
fn an_empty_list_is_a_plan_without_rows() {
    let home = Home::new();
    let empty = home.write("empty.txt", "\n");
    let resolved = home.run(&["--prompts", &empty]).unwrap();
    assert!(resolved.prompts.is_empty());
}

#[test]
fn a_bad_preset_names_file_line_and_key() {
    let cases = [
        (
            "repeats = 1\n[sampling]\nmax_token = 5\n",
            ":3: unknown key \"max_token\"; did you mean \"max_tokens\"?",
        ),
        ("\nlane = [\"sequential\"]\n", ":2: unknown key \"lane\"; did you mean \"lanes\"?"),
        ("xyzzy = 1\n", ":1: unknown key \"xyzzy\"; the keys here are description, prompts,"),
        ("[provider]\nmodl = \"x\"\n", ":2: unknown key \"modl\"; did you mean \"model\"?"),
        ("[sampling]\nseed = 1\nmax_tokens = \"many\"\n", ":3: max_tokens: invalid type: string"),
        ("[sampling]\nseed = 1\ntemperature = -1.0\n", ":3: temperature is -1: it must be"),
        ("[sampling]\nmax_tokens = -4\n", ":2: max_tokens: invalid value"),
        ("repeats = 0\n", ":1: repeats is 0: it must be at least 1"),
        ("\non_error = \"explode\"\n", ":2: on_error: unknown variant `explode`"),
        (
            "raw = true\nlanes = [\"sequential\",\n \"batched:0\"]\n",
            ":3: lane \"batched:0\": the batch size is 0",
        ),
        ("raw = true\nlanes = []\n", ":2: there is no lane"),
        (
            "raw = true\nlanes = [\"async:2\", \"async:2\"]\n",
            ":2: two lanes are labelled \"async 2\"",
        ),
        (
            "[[lanes]]\nmode = \"sequential\"\nlabl = \"x\"\n",
            ":3: unknown key \"labl\"; did you mean \"label\"?",
        ),
        ("lanes = [3]\n", ":1: lanes: invalid type: integer `3`, expected a lane such as"),
        ("[provider]\nthreads = 0\n", ":2: threads is 0"),
        (
            "[provider]\nmodel = \"m\"\napi_key_env = \"sk-12-s3cret\"\n",
            ":3: api_key_env is not the name",
        ),
        (
            "[provider]\nmodel = \"m\"\nbase_url = \"https://u:s3cret@h\"\n",
            ":3: base_url must not carry",
        ),
        ("repeats = \n", ":1: "),
        ("repeats = 1\nrepeats = 2\n", ":2: "),
    ];
    for (text, expected) in cases {
        let error = Home::new().preset("bad", text).error(&["--preset", "bad"]);
        assert!(
            error.starts_with(&format!("config/presets/bad.toml{expected}")),
            "{text}: {error}"
        );
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn bad_settings_name_file_line_and_key() {
    let home = Home::new().settings("theme = \"dark\"\nthem = \"light\"\n");
    assert_eq!(
        home.error(&[]),
        "config/settings.toml:2: unknown key \"them\"; did you mean \"theme\"?"
    );
    let home = Home::new();
    fs::write(home.paths.settings(), b"theme = \"dark\"\n\xff\n").unwrap();
    assert_eq!(home.error(&[]), "config/settings.toml:2: not valid UTF-8: save the file as UTF-8");
}

#[test]
fn an_unknown_preset_lists_those_that_exist() {
    let home = Home::new().preset("mine", "");
    let error = home.error(&["--preset", "quikstart"]);
    assert!(error.contains("did you mean \"quickstart\"?"), "{error}");
    assert!(error.contains("quickstart, summarise, canary, batch-sizes, "), "{error}");
    assert!(error.contains(", mine"), "{error}");
    let error = home.error(&["--preset", "./none.toml"]);
    assert_eq!(error, "./none.toml: there is no such preset file");
}

#[test]
fn bad_flags_are_refused_with_the_reason() {
    let home = Home::new();
    let cases: [(&[&str], &str); 9] = [
        (&["--lanes", "async:2,async:2"], "two lanes are labelled \"async 2\": name one"),
        (&["--temperature", "-1"], "temperature is -1"),
        (&["--temperature", "nan"], "temperature is NaN"),
        (&["--top-p", "0"], "top_p is 0"),
        (&["--max-tokens", "0"], "max_tokens is 0"),
        (&["--stop", ""], "a stop string must not be empty"),
        (&["--repeats", "0"], "repeats is 0"),
        (&["--threads", "0"], "threads is 0"),
        (&["--api-key-env", "sk-s3cret"], "is not the name of an environment variable"),
    ];
    for (flags, expected) in cases {
        let error = home.error(flags);
        assert!(error.contains(expected), "{flags:?}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[test]
fn a_batch_size_of_zero_is_refused_in_a_request_too() {
    let mode = batchgen::config::Mode::Batched { batch_size: 0 };
    let lanes =
        Some(vec![LaneEntry { lane: LaneSpec::new(mode), provider: ProviderLayer::default() }]);
    let request =
        RunRequest { layer: Layer { lanes, ..Layer::default() }, ..RunRequest::default() };
    let error = format!("{:#}", resolve(&request, &Home::new().paths).unwrap_err());
    assert!(error.contains("the batch size is 0"), "{error}");
}

#[test]
fn presets_are_listed_with_what_they_do_and_a_broken_one_with_the_reason() {
    let home = Home::new().preset("broken", "x = 1\n");
    let mut out = Vec::new();
    cli::presets::list(&home.paths, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("quickstart\n  32 short prompts three ways"), "{text}");
    assert!(text.contains("  lanes: sequential, async 8, batched 16\n"), "{text}");
    assert!(text.contains("broken\n  cannot be used: "), "{text}");
}

#[test]
fn a_preset_is_shown_as_it_was_written() {
    let home = Home::new().preset("mine", "# mine\nrepeats = 2\n");
    let show = |name| {
        let mut out = Vec::new();
        cli::presets::show(name, &home.paths, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(show("mine"), "# mine\nrepeats = 2\n");
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets/canary.toml");
    assert_eq!(show("canary"), fs::read_to_string(embedded).unwrap());
}

#[test]
fn themes_are_the_shipped_ones_and_the_users_own() {
    let home = Home::new();
    fs::create_dir_all(home.paths.themes()).unwrap();
    for name in ["mine.toml", "dark.toml", "notes.txt"] {
        fs::write(home.paths.themes().join(name), "").unwrap();
    }
    let mut out = Vec::new();
    cli::themes::list(["light", "dark"], &home.paths, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["light", "dark", "mine", "your"]);
}

proptest! {
    #[test]
    fn no_preset_makes_the_parser_panic(
        text in "([\\[\\]{}\"'=,.#:0-9a \n]|lanes|sampling|provider|batched:|max_tokens|é|\u{1b}){0,60}"
    ) {
        let home = Home::new().preset("fuzz", &text);
        if let Err(error) = home.run(&["--preset", "fuzz"]) {
            let message = format!("{error:#}");
            prop_assert!(!message.chars().any(char::is_control), "{}", message);
        }
    }
}

/// The words that a shell makes of a command line.
#[cfg(unix)]
fn shell_words(command: &str) -> Vec<String> {
    let script = format!("printf '%s\\0' {command}");
    let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[cfg(unix)]
#[test]
fn the_command_line_of_a_plan_gives_the_plan_again() {
    let home = Home::new();
    let template = "It's \"{{ text }}\" & $HOME";
    for flags in [
        vec![],
        vec!["--lanes=fast one=batched:4,batched_async:8x2", "--raw", "--repeats=3", "--threads=2"],
        vec!["--prompts=canary", "--template", template, "--stop=\n", "--stop=-end", "--top-p=0.9"],
        vec!["--ignore-eos", "--temperature=0.7", "--seed=9", "--on-error=continue", "--warmup=0"],
        vec![
            "--lanes=local=batched:4,s=async:8@openai base_url=http://h:1 api_key_env=KEY,async:2@model=x",
        ],
        vec![
            "--provider=ollama",
            "--model=m",
            "--requests-per-minute=9",
            "--retries=1",
            "--tokens-per-minute=7",
        ],
        vec!["--provider=openai", "--base-url=http://h:1", "--batch-route"],
        vec!["--provider=anthropic", "--model=m", "--lanes=offline", "--job-requests=9"],
        vec!["--provider=mlx", "--model=a/b", "--python=/opt/my env"],
    ] {
        let plan = home.plan(&flags);
        let words = shell_words(&command_line(&plan).unwrap());
        assert_eq!(words[..2], ["batchgen-tui", "run"]);
        let words: Vec<&str> = words[2..].iter().map(String::as_str).collect();
        assert_eq!(Plan { name: plan.name.clone(), ..home.plan(&words) }, plan, "{words:?}");
    }
}
