//! The lines of the form: their names, what they mean, how each is changed.

use crate::provider::ProviderSpec;

/// A line of the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Named settings to begin with.
    Preset,
    /// Where the prompts come from.
    Prompts,
    /// The column of a table, or the field of JSON records.
    Column,
    /// Makes each prompt from the fields of its record.
    Template,
    /// Who generates.
    Provider,
    /// Address of a server.
    Address,
    /// The environment variable that holds a server's key.
    KeyFrom,
    /// Further headers, each with the variable that holds its value.
    Headers,
    /// The Python that has mlx-lm.
    Python,
    /// The model.
    Model,
    /// Most requests a minute.
    RequestsPerMinute,
    /// Most tokens a minute.
    TokensPerMinute,
    /// The most tokens of a row.
    MaxTokens,
    /// 0 is greedy.
    Temperature,
    /// Seed of the run.
    Seed,
    /// Go on past the model's end of text.
    IgnoreEos,
    /// Send prompts without the model's chat template.
    Raw,
    /// The lanes, in order.
    Lanes,
    /// The batch size of all lanes that have one.
    BatchSize,
    /// How often each lane runs.
    Repeats,
    /// What a failed row does.
    OnError,
    /// The button.
    Run,
}

/// How a field is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text is typed.
    Text,
    /// One of some values.
    Choice,
    /// A list is opened.
    Picker,
    /// It does something.
    Button,
}

impl Field {
    /// All fields in the order of the form.
    pub const ALL: [Field; 22] = [
        Field::Preset,
        Field::Prompts,
        Field::Column,
        Field::Template,
        Field::Provider,
        Field::Address,
        Field::KeyFrom,
        Field::Headers,
        Field::Python,
        Field::Model,
        Field::RequestsPerMinute,
        Field::TokensPerMinute,
        Field::MaxTokens,
        Field::Temperature,
        Field::Seed,
        Field::IgnoreEos,
        Field::Raw,
        Field::Lanes,
        Field::BatchSize,
        Field::Repeats,
        Field::OnError,
        Field::Run,
    ];

    /// Its name on the form.
    pub fn name(self) -> &'static str {
        match self {
            Field::Preset => "preset",
            Field::Prompts => "prompts",
            Field::Column => "column",
            Field::Template => "template",
            Field::Provider => "provider",
            Field::Address => "address",
            Field::KeyFrom => "key from",
            Field::Headers => "headers",
            Field::Python => "python",
            Field::Model => "model",
            Field::RequestsPerMinute => "req/min",
            Field::TokensPerMinute => "tok/min",
            Field::MaxTokens => "max tokens",
            Field::Temperature => "temperature",
            Field::Seed => "seed",
            Field::IgnoreEos => "ignore eos",
            Field::Raw => "raw",
            Field::Lanes => "lanes",
            Field::BatchSize => "batch size",
            Field::Repeats => "repeats",
            Field::OnError => "on error",
            Field::Run => "run",
        }
    }

    /// What it means, for the help beside the form.
    pub fn help(self) -> &'static str {
        match self {
            Field::Preset => {
                "settings to begin with; ← → choose another one, which sets all fields"
            }
            Field::Prompts => {
                "enter opens the built-in lists and your files: .txt, .jsonl, .json, .csv, .tsv or a folder"
            }
            Field::Column => {
                "the column of a table, or the field of JSON records, that holds the prompt"
            }
            Field::Template => {
                "makes each prompt from the fields of its record, as in: Summarize: {{ text }}"
            }
            Field::Provider => "who generates; ← → choose",
            Field::Address => {
                "where the server listens, such as http://127.0.0.1:8080; empty is the provider's own place"
            }
            Field::KeyFrom => {
                "the name of the environment variable that holds the key, never the key itself"
            }
            Field::Model => {
                "a name from the catalogue, a hub repository, a folder or a GGUF file; on a server its name there, and empty is the first one; ← → choose one that is listed"
            }
            Field::Headers => {
                "further headers, each with the environment variable that holds its value: X-Team=TEAM_VAR, X-Other=OTHER_VAR"
            }
            Field::Python => {
                "the Python that has mlx-lm, or the folder of its virtual environment; empty is BATCHGEN_PYTHON, else python3"
            }
            Field::RequestsPerMinute => {
                "the most requests in any 60 seconds; waiting for it is no part of TTFT; empty is no limit"
            }
            Field::TokensPerMinute => {
                "the most tokens in any 60 seconds, prompts and max tokens together; empty is no limit"
            }
            Field::MaxTokens => "the most tokens a row may generate",
            Field::Temperature => "0 is greedy: always the most probable token",
            Field::Seed => "each row draws from its own stream, keyed by seed and row",
            Field::IgnoreEos => {
                "generate exactly max tokens, going on past the model's end of text"
            }
            Field::Raw => "send prompts as they are, without the model's chat template",
            Field::Lanes => {
                "one after another over the whole list: sequential, async:8, batched:16, batched_async:16x2; \
                 label=mode gives a lane a name; @ after it a provider of its own, as in \
                 async:8@openai base_url=http://127.0.0.1:8080, or @model=other"
            }
            Field::BatchSize => {
                "rows generated at a time in the batched lanes, one for all or one for each; + and − change it while a lane runs"
            }
            Field::Repeats => "how often each lane runs",
            Field::OnError => {
                "stop: the first failed row ends its lane; continue: it is recorded and the lane goes on"
            }
            Field::Run => "enter starts the run",
        }
    }

    /// Whether it is of use with this provider: only a server has an address, only mlx a Python.
    pub fn belongs_to(self, provider: &ProviderSpec) -> bool {
        match self {
            Field::Address
            | Field::KeyFrom
            | Field::Headers
            | Field::RequestsPerMinute
            | Field::TokensPerMinute => provider.is_server(),
            Field::Python => provider.provider == "mlx",
            _ => true,
        }
    }

    /// How it is changed.
    pub fn kind(self) -> Kind {
        match self {
            Field::Preset | Field::Provider | Field::IgnoreEos | Field::Raw | Field::OnError => {
                Kind::Choice
            }
            Field::Prompts => Kind::Picker,
            Field::Run => Kind::Button,
            Field::Column
            | Field::Template
            | Field::Address
            | Field::KeyFrom
            | Field::Headers
            | Field::Python
            | Field::RequestsPerMinute
            | Field::TokensPerMinute
            | Field::Model
            | Field::MaxTokens
            | Field::Temperature
            | Field::Seed
            | Field::Lanes
            | Field::BatchSize
            | Field::Repeats => Kind::Text,
        }
    }
}
