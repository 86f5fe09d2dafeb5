//! The commands and their flags, as clap reads them.
//!
//! This module parses; it runs nothing and reads no file.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::batch_file::Endpoint;
use crate::config::{
    LaneEntry, LaneSpec, Layer, Mode, OnError, ProviderLayer, RunRequest, SamplingLayer,
};
use crate::provider::ServerOptions;
use crate::report::Slo;
use crate::report::gate::{self, Assertion, Tolerance};

const EXAMPLES: &str = "\
Examples:
  batchgen-tui                                     open the workbench
  batchgen-tui run                                 32 prompts three ways on a small local model
  batchgen-tui run --prompts questions.txt --lanes sequential,batched:16 --report out.json
  batchgen-tui sweep --batch-sizes 1,4,16,64       which batch size is best here?
  batchgen-tui compare before.json after.json

Exit status: 0 done and verified; 1 a lane failed, integrity was violated or a claim does not hold;
2 bad usage or configuration; 130 interrupted (what was finished is written).";

const RUN_EXAMPLES: &str = "\
Examples:
  batchgen-tui run --preset quickstart
  batchgen-tui run --prompts reviews.csv --column review \\
      --template 'Is this review positive or negative? {{ text }}' --max-tokens 8
  batchgen-tui run --model ./model.gguf --lanes sequential,async:8,batched:16 --report run.md
  generate-prompts | batchgen-tui run --prompts - --lanes batched:32 --quiet --report out.csv
  batchgen-tui run --assert integrity --assert 'batched.speedup >= 2' --repeats 5

Lanes: sequential, async:IN_FLIGHT, batched:SIZE, batched_async:SIZExIN_FLIGHT, offline, each
with an optional LABEL= before it, and after it, where it has one, @ and a provider or model of its
own: --lanes 'local=batched:16,server=async:8@openai base_url=http://127.0.0.1:8080'

Prompt lists: .txt (a prompt a line; lines of --- make blocks), .jsonl, .json, .csv, .tsv, a
folder of text files, - for standard input, or the name of a built-in list. Limits: 1 GiB a list,
4 MiB a prompt, 10 million prompts.";

const SWEEP_EXAMPLES: &str = "\
Examples:
  batchgen-tui sweep
  batchgen-tui sweep --batch-sizes 1,2,4,8 --prompts questions.txt --max-tokens 32
  batchgen-tui sweep --batch-sizes 8,64 --ignore-eos --report sweep.json
  batchgen-tui sweep --slo-ttft 2s --report sweep.html      the largest batch within a limit";

const REPORT_EXAMPLES: &str = "\
Examples:
  batchgen-tui report 20261123-181502 --report run.html
  batchgen-tui report nightly.json --report nightly.md --assert 'batched.speedup >= 2'
  batchgen-tui report sweep.json --slo-ttft 2s              the largest batch within a limit";

const EXPORT_EXAMPLES: &str = "\
Examples:
  batchgen-tui export-batch --prompts questions.txt --model Qwen/Qwen3-8B batch.jsonl
  vllm run-batch -i batch.jsonl -o results.jsonl --model Qwen/Qwen3-8B
  batchgen-tui import-batch --prompts batch.jsonl results.jsonl --report report.html";

/// Runs a list of prompts sequentially, asynchronously and batched, side by side, and shows
/// that batching did not change the answers. Without a command it opens the workbench.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(
    name = "batchgen-tui",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// What to do; without one the workbench opens.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What the workbench's form is filled with.
    #[command(flatten)]
    pub run: RunFlags,
}

/// The commands.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
    /// Run a prompt list without a screen
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Run the batched mode at each of several batch sizes
    #[command(after_help = SWEEP_EXAMPLES)]
    Sweep(Box<SweepArgs>),
    /// Compare reports
    Compare(CompareArgs),
    /// Write the report of a past run, or of a .json report, in other formats, and judge it
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Go on with an interrupted run
    Resume(ResumeArgs),
    /// Write a prompt list as a batch file, for an engine that runs it elsewhere
    #[command(after_help = EXPORT_EXAMPLES)]
    ExportBatch(Box<ExportBatchArgs>),
    /// Check the results of a batch file and write the report
    ImportBatch(ImportBatchArgs),
    /// The models on this machine
    #[command(subcommand)]
    Models(ModelsCommand),
    /// The presets that there are, or one in full
    Presets(PresetsArgs),
    /// The themes that there are
    Themes,
    /// The providers that there are, and what batching means there; or the models of one
    Providers(ProvidersArgs),
    /// Print a shell's completions: bash, elvish, fish, powershell or zsh
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Arguments of `run`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct RunArgs {
    /// What is run, and how.
    #[command(flatten)]
    pub run: RunFlags,
    /// Take turns, pass by pass, with another run that is given the same folder; then `compare`
    /// compares their passes pair by pair, from six repeats on
    #[arg(long, value_name = "FOLDER", help_heading = "Run")]
    pub turns: Option<PathBuf>,
    /// What is told.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// Arguments of `sweep`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct SweepArgs {
    /// The batch sizes, in the order they run
    #[arg(
        long,
        value_name = "SIZES",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32",
        value_parser = batch_size
    )]
    pub batch_sizes: Vec<usize>,
    /// What is run, and how.
    #[command(flatten)]
    pub common: CommonFlags,
    /// What is told.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// Arguments of `compare`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CompareArgs {
    /// The report to compare with
    #[arg(value_name = "A.json")]
    pub a: PathBuf,
    /// The reports that are compared with it
    #[arg(value_name = "B.json", required = true)]
    pub others: Vec<PathBuf>,
    /// Write the comparison to a file too, .txt, .md or .html
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ReportArgs {
    /// A past run, by its name or folder, or a report that --report wrote as .json
    #[arg(value_name = "RUN|A.json")]
    pub source: String,
    /// What is told.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// Arguments of `resume`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ResumeArgs {
    /// The run: its name, or its folder
    #[arg(value_name = "RUN")]
    pub run: String,
    /// What is told.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// Arguments of `export-batch`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ExportBatchArgs {
    /// The file to write, .jsonl; - for standard output
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The prompts.
    #[command(flatten)]
    pub prompts: BatchPrompts,
    /// The model, by the name that the engine knows it by
    #[arg(long, value_name = "M")]
    pub model: String,
    /// chat applies the model's template; completions sends prompts as they are
    #[arg(long, value_name = "WHICH", default_value = "chat")]
    pub endpoint: Endpoint,
    /// Write the token limit as max_completion_tokens, as OpenAI's reasoning models want it
    #[arg(long)]
    pub max_completion_tokens: bool,
    /// The parameters of generation.
    #[command(flatten)]
    pub sampling: SamplingFlags,
}

/// Arguments of `import-batch`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct ImportBatchArgs {
    /// The results: the engine's output file, and its error file where it has one
    #[arg(value_name = "RESULTS", required = true)]
    pub results: Vec<PathBuf>,
    /// The prompts.
    #[command(flatten)]
    pub prompts: BatchPrompts,
    /// What is told.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// The prompts of a batch: the list, or the batch file that was made of it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct BatchPrompts {
    /// The prompt list, or the batch file that was made of it
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub prompts: String,
    /// The column of a table, or the field of JSON records, that holds the prompt
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Make each prompt from its record, as in 'Summarize: {{ text }}'; or a file with a template
    #[arg(long, value_name = "TEMPLATE|FILE")]
    pub template: Option<String>,
}

/// Commands of the model store.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ModelsCommand {
    /// The catalogue, and what of it is on this machine
    List,
    /// Download a model, unless it is here already
    Fetch {
        /// A catalogue name or a repository of the Hugging Face Hub; default: the quickstart's
        #[arg(value_name = "MODEL")]
        model: Option<String>,
    },
    /// Print where a model is on this machine
    Path {
        /// A catalogue name or a repository; without one, the folder of all models
        #[arg(value_name = "MODEL")]
        model: Option<String>,
    },
}

/// Arguments of `presets`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PresetsArgs {
    /// What to do with them; without one they are listed.
    #[command(subcommand)]
    pub command: Option<PresetsCommand>,
}

/// Arguments of `providers`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ProvidersArgs {
    /// What to do with them; without one they are listed.
    #[command(subcommand)]
    pub command: Option<ProvidersCommand>,
}

/// Commands on providers.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ProvidersCommand {
    /// List the models that a provider could run: its server's, or those on this machine
    Models(Box<ProviderFlags>),
}

/// Commands on presets.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PresetsCommand {
    /// Print a preset's TOML, to start one's own from
    Show {
        /// Its name, or its file
        #[arg(value_name = "NAME|FILE")]
        name: String,
    },
}

/// What is told about a run, and what is asked of it.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct OutputFlags {
    /// Write a report; its extension says the format (.json .csv .md .html); may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Vec<PathBuf>,
    /// Print nothing but errors
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
    /// End with status 1 unless this holds: integrity, agreement, or a bound such as
    /// 'batched.speedup >= 2'; may be repeated
    #[arg(long = "assert", value_name = "CLAIM", help_heading = "Gates")]
    pub assertions: Vec<Assertion>,
    /// End with status 1 if throughput, TTFT or ITL are worse than in this report
    #[arg(long, value_name = "FILE", help_heading = "Gates")]
    pub baseline: Option<PathBuf>,
    /// How much worse than the baseline is accepted; default: 10%
    #[arg(long, value_name = "SHARE", requires = "baseline", help_heading = "Gates")]
    pub tolerance: Option<Tolerance>,
    /// Longest time to a row's first text, such as 500ms: rows within it make the goodput
    #[arg(long, value_name = "TIME", value_parser = seconds, help_heading = "Gates")]
    pub slo_ttft: Option<f64>,
    /// Longest time to a row's end, such as 5s: rows within it make the goodput
    #[arg(long, value_name = "TIME", value_parser = seconds, help_heading = "Gates")]
    pub slo_e2e: Option<f64>,
}

impl OutputFlags {
    /// The latency limits.
    pub fn slo(&self) -> Slo {
        Slo { ttft_s: self.slo_ttft, e2e_s: self.slo_e2e }
    }
}

/// What is run, and how.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct RunFlags {
    /// The lanes, in the order they run, such as sequential,async:8,batched:16
    #[arg(long, value_name = "LANES", value_delimiter = ',')]
    pub lanes: Option<Vec<LaneEntry>>,
    /// All other flags.
    #[command(flatten)]
    pub common: CommonFlags,
}

/// What `run` and `sweep` have in common.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct CommonFlags {
    /// A preset to start from (see `batchgen-tui presets`), or a preset file; default: quickstart
    #[arg(long, value_name = "NAME|FILE")]
    pub preset: Option<String>,
    /// The prompt list: a file, a folder, - for standard input, or a built-in list
    #[arg(long, value_name = "FILE", help_heading = "Prompts", allow_hyphen_values = true)]
    pub prompts: Option<String>,
    /// The column of a table, or the field of JSON records, that holds the prompt
    #[arg(long, value_name = "NAME", help_heading = "Prompts")]
    pub column: Option<String>,
    /// Make each prompt from its record, as in 'Summarize: {{ text }}'; or a file with a template
    #[arg(long, value_name = "TEMPLATE|FILE", help_heading = "Prompts")]
    pub template: Option<String>,
    /// Send prompts as they are, without the model's chat template
    #[arg(long, help_heading = "Prompts", value_name = "BOOL", num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub raw: Option<bool>,
    /// The provider and its model.
    #[command(flatten)]
    pub provider: ProviderFlags,
    /// The parameters of generation.
    #[command(flatten)]
    pub sampling: SamplingFlags,
    /// How often every lane runs
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub repeats: Option<usize>,
    /// Rows run before the first lane, unmeasured
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub warmup: Option<usize>,
    /// What a failed row does: stop its lane, or let it continue
    #[arg(long, value_name = "WHAT", value_parser = on_error(), help_heading = "Run")]
    pub on_error: Option<OnError>,
    /// Stop before the run has cost more US dollars than this
    #[arg(long = "max-cost", value_name = "USD", value_parser = dollars, help_heading = "Run")]
    pub max_cost_usd: Option<f64>,
}

/// The provider and its model.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Provider")]
pub struct ProviderFlags {
    /// Who generates (see `batchgen-tui providers`)
    #[arg(long, value_name = "P")]
    pub provider: Option<String>,
    /// A catalogue name, a Hugging Face repository, a folder or a GGUF file
    #[arg(long, value_name = "M")]
    pub model: Option<String>,
    /// Address of a server
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the key
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// The local engine's runner, cpu, cpu:SET with an instruction set such as avx512, or candle;
    /// default: cpu with the machine's best, on a GPU candle
    #[arg(long, value_name = "RUNNER")]
    pub runner: Option<String>,
    /// Threads of the local engine; default: the physical cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// The Python that has mlx-lm, or its virtual environment; default: $BATCHGEN_PYTHON, python3
    #[arg(long, value_name = "PYTHON|FOLDER")]
    pub python: Option<String>,
    /// How often a failed request is sent again; default: 2, and 8 where the server names a wait
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Most requests to a server in any 60 seconds
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub requests_per_minute: Option<usize>,
    /// Most tokens to a server in any 60 seconds, prompts and --max-tokens together
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub tokens_per_minute: Option<usize>,
    /// Most requests in one batch job of an offline lane; default: what the vendor takes
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub job_requests: Option<usize>,
    /// Batched lanes send the conversations of a batch in one request; vLLM only, nothing streams
    #[arg(long)]
    pub batch_route: bool,
}

/// The parameters of generation.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Generation")]
pub struct SamplingFlags {
    /// The most tokens a row may generate
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// 0 is greedy: always the most probable token
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Keep only the N most probable tokens
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Keep the most probable tokens up to this probability together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Keep tokens at least this times as probable as the best
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Seed of the run
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// End a row at this text; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Option<Vec<String>>,
    /// Generate exactly the most tokens, past the end of the text
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    pub ignore_eos: Option<bool>,
}

impl RunFlags {
    /// What the flags ask for.
    pub fn request(&self) -> RunRequest {
        self.common.request(self.lanes.clone())
    }
}

impl SweepArgs {
    /// What the flags ask for: a batched lane for each size.
    pub fn request(&self) -> RunRequest {
        // a size that is written twice is run once
        let sizes = self.batch_sizes.iter().enumerate();
        let sizes = sizes.filter(|(place, size)| !self.batch_sizes[..*place].contains(size));
        let modes = sizes.map(|(_, size)| size).map(|size| Mode::Batched { batch_size: *size });
        self.common.request(Some(modes.map(|mode| LaneSpec::new(mode).into()).collect()))
    }
}

impl CommonFlags {
    fn request(&self, lanes: Option<Vec<LaneEntry>>) -> RunRequest {
        let flags = self.clone();
        RunRequest {
            preset: flags.preset,
            prompts: flags.prompts,
            column: flags.column,
            template: flags.template,
            layer: Layer {
                provider: flags.provider.into(),
                sampling: flags.sampling.into(),
                lanes,
                raw: flags.raw,
                repeats: flags.repeats,
                warmup: flags.warmup,
                on_error: flags.on_error,
                max_cost_usd: flags.max_cost_usd,
            },
        }
    }
}

impl From<ProviderFlags> for ProviderLayer {
    fn from(flags: ProviderFlags) -> Self {
        Self {
            name: flags.provider,
            model: flags.model,
            base_url: flags.base_url,
            api_key_env: flags.api_key_env,
            runner: flags.runner,
            threads: flags.threads,
            server: ServerOptions {
                retries: flags.retries,
                requests_per_minute: flags.requests_per_minute,
                tokens_per_minute: flags.tokens_per_minute,
                batch_route: flags.batch_route.then_some(true),
                job_requests: flags.job_requests,
                ..ServerOptions::default()
            },
            python: flags.python,
        }
    }
}

impl From<SamplingFlags> for SamplingLayer {
    fn from(flags: SamplingFlags) -> Self {
        Self {
            max_tokens: flags.max_tokens,
            temperature: flags.temperature,
            top_k: flags.top_k,
            top_p: flags.top_p,
            min_p: flags.min_p,
            seed: flags.seed,
            stop: flags.stop,
            ignore_eos: flags.ignore_eos,
        }
    }
}

fn batch_size(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) => Err("a batch size is at least 1".into()),
        Ok(size) => Ok(size),
        Err(_) => Err("a batch size is a number".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    gate::seconds(text)
        .filter(|seconds| *seconds > 0.0)
        .ok_or_else(|| "write a time with its unit, such as 500ms or 5s".into())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) => Err("it is at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("it is a number".into()),
    }
}

fn dollars(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_start_matches('$').parse::<f64>().ok();
    let number = number.filter(|dollars| dollars.is_finite() && *dollars >= 0.0);
    number.ok_or_else(|| "it is a number of US dollars, such as 0.50".into())
}

fn on_error() -> impl TypedValueParser<Value = OnError> {
    PossibleValuesParser::new(["stop", "continue"]).try_map(|word| word.parse::<OnError>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(words(line)).unwrap()
    }

    fn refuse(line: &str) -> clap::Error {
        let error = Cli::try_parse_from(words(line)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        error
    }

    fn words(line: &str) -> impl Iterator<Item = &str> {
        ["batchgen-tui"].into_iter().chain(line.split_whitespace())
    }

    fn run(line: &str) -> RunRequest {
        let Some(Command::Run(args)) = parse(&format!("run {line}")).command else { panic!() };
        args.run.request()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_anything_the_workbench_opens_with_nothing_filled_in() {
        let cli = parse("");
        assert_eq!(cli.command, None);
        assert_eq!(cli.run.request(), RunRequest::default());
    }

    #[test]
    fn every_flag_of_a_run_reaches_the_request() {
        let request = run("--preset p --prompts - --column c --template t --provider local \
             --model m --base-url http://h --api-key-env KEY --runner candle --threads 3 --python py \
             --lanes sequential,async:8,b=batched:16 --max-tokens 5 --ignore-eos \
             --temperature 0.5 --top-k 4 --top-p 0.9 --min-p 0.1 --seed 7 --stop a --stop -b \
             --repeats 2 --warmup 3 --raw --on-error continue --max-cost 0.5 --retries 1 \
             --requests-per-minute 60 --tokens-per-minute 9000 --batch-route --job-requests 500");
        let lanes = ["sequential", "async:8", "b=batched:16"];
        let expected = RunRequest {
            preset: Some("p".into()),
            prompts: Some("-".into()),
            column: Some("c".into()),
            template: Some("t".into()),
            layer: Layer {
                provider: ProviderLayer {
                    name: Some("local".into()),
                    model: Some("m".into()),
                    base_url: Some("http://h".into()),
                    api_key_env: Some("KEY".into()),
                    runner: Some("candle".into()),
                    threads: Some(3),
                    server: ServerOptions {
                        retries: Some(1),
                        requests_per_minute: Some(60),
                        tokens_per_minute: Some(9000),
                        batch_route: Some(true),
                        job_requests: Some(500),
                        ..ServerOptions::default()
                    },
                    python: Some("py".into()),
                },
                sampling: SamplingLayer {
                    max_tokens: Some(5),
                    temperature: Some(0.5),
                    top_k: Some(4),
                    top_p: Some(0.9),
                    min_p: Some(0.1),
                    seed: Some(7),
                    stop: Some(vec!["a".into(), "-b".into()]),
                    ignore_eos: Some(true),
                },
                lanes: Some(
                    lanes.map(|lane| LaneEntry::from(lane.parse::<LaneSpec>().unwrap())).into(),
                ),
                raw: Some(true),
                repeats: Some(2),
                warmup: Some(3),
                on_error: Some(OnError::Continue),
                max_cost_usd: Some(0.5),
            },
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn the_workbench_takes_the_flags_of_a_run() {
        let flags = "--preset canary --lanes batched:4 --max-tokens 9";
        assert_eq!(parse(flags).run.request(), run(flags));
    }

    #[test]
    fn a_switch_can_be_turned_off_again_over_a_preset() {
        let request = run("--raw=false --ignore-eos=false");
        assert_eq!(request.layer.raw, Some(false));
        assert_eq!(request.layer.sampling.ignore_eos, Some(false));
    }

    #[test]
    fn a_run_says_where_its_reports_go() {
        let Some(Command::Run(args)) = parse("run --report a.json --report b.md --quiet").command
        else {
            panic!()
        };
        let report = vec!["a.json".into(), "b.md".into()];
        assert_eq!(args.output, OutputFlags { report, quiet: true, ..OutputFlags::default() });
    }

    #[test]
    fn a_sweep_is_a_batched_lane_for_each_size() {
        let Some(Command::Sweep(args)) =
            parse("sweep --batch-sizes 1,4 --max-tokens 8 --report s.json").command
        else {
            panic!()
        };
        let request = args.request();
        let labels = request.layer.lanes.unwrap().into_iter().map(|entry| entry.lane.label);
        assert_eq!(labels.collect::<Vec<_>>(), ["batched 1", "batched 4"]);
        assert_eq!(request.layer.sampling.max_tokens, Some(8));
        assert_eq!(args.output.report, [PathBuf::from("s.json")]);
    }

    #[test]
    fn a_sweep_has_sizes_of_its_own_and_takes_no_lanes() {
        let Some(Command::Sweep(args)) = parse("sweep").command else { panic!() };
        assert_eq!(args.batch_sizes, [1, 2, 4, 8, 16, 32]);
        assert_eq!(refuse("sweep --lanes sequential").kind(), ErrorKind::UnknownArgument);
    }

    #[test]
    fn the_other_commands_are_read() {
        let command = |line| parse(line).command.unwrap();
        let compare =
            CompareArgs { a: "a.json".into(), others: vec!["b.json".into()], report: None };
        assert_eq!(command("compare a.json b.json"), Command::Compare(compare.clone()));
        let report = Some("c.md".into());
        assert_eq!(
            command("compare a.json b.json --report c.md"),
            Command::Compare(CompareArgs { report, ..compare })
        );
        let report = vec!["r.html".into()];
        let output = OutputFlags { report, ..OutputFlags::default() };
        assert_eq!(
            command("report r.json --report r.html"),
            Command::Report(ReportArgs { source: "r.json".into(), output })
        );
        let report = vec!["r.json".into()];
        let output = OutputFlags { report, quiet: true, ..OutputFlags::default() };
        assert_eq!(
            command("resume 2026 --report r.json --quiet"),
            Command::Resume(ResumeArgs { run: "2026".into(), output })
        );
        assert_eq!(command("models list"), Command::Models(ModelsCommand::List));
        let model = || Some("m".to_owned());
        assert_eq!(
            command("models fetch m"),
            Command::Models(ModelsCommand::Fetch { model: model() })
        );
        assert_eq!(command("models fetch"), Command::Models(ModelsCommand::Fetch { model: None }));
        assert_eq!(
            command("models path m"),
            Command::Models(ModelsCommand::Path { model: model() })
        );
        assert_eq!(command("presets"), Command::Presets(PresetsArgs { command: None }));
        let show = PresetsCommand::Show { name: "canary".into() };
        assert_eq!(
            command("presets show canary"),
            Command::Presets(PresetsArgs { command: Some(show) })
        );
        assert_eq!(command("themes"), Command::Themes);
        assert_eq!(command("providers"), Command::Providers(ProvidersArgs { command: None }));
        let Command::Providers(ProvidersArgs { command: Some(ProvidersCommand::Models(flags)) }) =
            command("providers models --provider ollama --base-url http://h")
        else {
            panic!()
        };
        assert_eq!(flags.provider.as_deref(), Some("ollama"));
        assert_eq!(flags.base_url.as_deref(), Some("http://h"));
    }

    #[test]
    fn bad_usage_is_refused_with_the_reason() {
        let cases = [
            ("run --lanes batched:0", "the batch size is 0"),
            ("run --lanes fast", "no such mode"),
            ("run --max-tokens many", "invalid digit"),
            ("run --on-error panic", "stop, continue"),
            ("run --frobnicate", "--frobnicate"),
            ("sweep --batch-sizes 1,0", "a batch size is at least 1"),
            ("sweep --batch-sizes ,", "a batch size is a number"),
            ("compare a.json", "<B.json>"),
            ("run --assert fast", "batched.speedup >= 2"),
            ("run --assert batched.ttft.p95<=5", "0.5s"),
            ("run --tolerance 5%", "--baseline"),
            ("run --slo-ttft 5", "500ms"),
            ("resume", "<RUN>"),
            ("models", "subcommand"),
            ("--max-tokens 3 run", "run"),
        ];
        for (line, expected) in cases {
            let message = refuse(line).to_string();
            assert!(message.contains(expected), "{line}: {message}");
        }
    }

    #[test]
    fn help_shows_examples() {
        for line in ["--help", "run --help", "sweep --help"] {
            let error = Cli::try_parse_from(words(line)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DisplayHelp);
            assert!(error.to_string().contains("Examples:"), "{line}");
        }
    }
}
