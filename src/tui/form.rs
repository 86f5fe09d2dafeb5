//! Setup: the fields of what will run, what is known about them, and whether they are valid.
//!
//! It reads no file and asks no server; what others found out is put in here.

mod field;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use field::{Field, Kind};

use super::input::TextInput;
use crate::config::{
    LaneEntry, LaneSpec, Mode, OnError, Plan, ProviderLayer, secret, written_lane, written_template,
};
use crate::prompts::PromptList;
use crate::provider::{ListedModel, ProviderSpec, ServerOptions};

/// Where the prompts come from, as the user wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptQuery {
    /// The name of a built-in list, or a path.
    pub source: String,
    /// The column of a table.
    pub column: Option<String>,
    /// The template, or the path of one.
    pub template: Option<String>,
    /// The folder that the template's path is relative to; else the current one.
    pub template_base: Option<PathBuf>,
}

impl PromptQuery {
    /// The template as it can be written from anywhere.
    fn written_template(&self) -> Option<String> {
        let base = self.template_base.as_deref();
        self.template.as_deref().map(|text| written_template(text, base))
    }
}

/// What is known about something that others find out.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding<T> {
    /// It was asked for.
    Asked,
    /// It is known.
    Known(T),
    /// It cannot be had: the reason.
    Failed(String),
}

impl<T> Finding<T> {
    /// What is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Finding::Known(known) => Some(known),
            Finding::Asked | Finding::Failed(_) => None,
        }
    }
}

/// What is known about a model before it is opened, in lines for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// It is on this machine and need not be fetched.
    pub here: bool,
    /// Facts: where it is, where it would come from.
    pub lines: Vec<String>,
}

/// A question for the token counts of a prompt list.
#[derive(Debug, Clone)]
pub struct TokenQuery {
    /// Whose tokens.
    pub provider: ProviderSpec,
    /// The list.
    pub prompts: Arc<PromptList>,
    /// Without the model's chat template.
    pub raw: bool,
}

impl PartialEq for TokenQuery {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.prompts, &other.prompts)
            && (&self.provider, self.raw) == (&other.provider, other.raw)
    }
}

/// The tokens of the first prompts of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptTokens {
    /// One for each prompt that was counted; absent for a prompt the model cannot be given.
    pub rows: Vec<Option<usize>>,
}

impl PromptTokens {
    /// The tokens of all counted prompts.
    pub fn total(&self) -> usize {
        self.rows.iter().flatten().sum()
    }
}

/// A preset: its plan and where its prompts come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// Its prompts.
    pub query: PromptQuery,
}

/// A text field under the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editing {
    /// What is typed.
    pub input: TextInput,
    before: String,
}

/// The form.
#[derive(Debug, Clone)]
pub struct Form {
    /// The field in focus.
    pub focus: Field,
    /// The field in focus is being typed into.
    pub editing: Option<Editing>,
    /// Names of the presets.
    pub presets: Vec<String>,
    /// Names of the providers.
    pub providers: Vec<String>,
    /// What is known about the prompt list.
    pub prompts: Finding<Arc<PromptList>>,
    /// What is known about the model.
    pub model: Finding<ModelFacts>,
    /// The models that the provider lists, as far as it was asked.
    pub models: Vec<ListedModel>,
    counts: Option<(TokenQuery, PromptTokens)>,
    preset: String,
    /// What was chosen before the form was touched; holds what has no field.
    base: Plan,
    query: PromptQuery,
    /// The prompts are not those of the preset.
    other_prompts: bool,
    values: Values,
}

/// What stands in the fields, as typed.
#[derive(Debug, Clone, PartialEq)]
struct Values {
    provider: String,
    address: String,
    key_from: String,
    headers: String,
    python: String,
    model: String,
    requests_per_minute: String,
    tokens_per_minute: String,
    max_tokens: String,
    temperature: String,
    seed: String,
    ignore_eos: bool,
    raw: bool,
    lanes: String,
    /// A batch size that is not valid; a valid one stands in the lanes.
    wrong_batch_size: Option<String>,
    repeats: String,
    on_error: OnError,
}

impl Values {
    fn of(plan: &Plan) -> Self {
        let mut values = Self::without_provider(plan);
        values.take_provider(plan.provider.clone());
        values
    }

    /// Takes all that stands in the fields of a provider.
    fn take_provider(&mut self, spec: ProviderSpec) {
        let number = |limit: Option<usize>| limit.map(|n| n.to_string()).unwrap_or_default();
        let headers = spec.server.header_env.iter().map(|(name, from)| format!("{name}={from}"));
        self.headers = headers.collect::<Vec<_>>().join(", ");
        self.requests_per_minute = number(spec.server.requests_per_minute);
        self.tokens_per_minute = number(spec.server.tokens_per_minute);
        self.provider = spec.provider;
        self.model = spec.model;
        self.address = spec.base_url.unwrap_or_default();
        self.key_from = spec.api_key_env.unwrap_or_default();
        self.python = spec.python.unwrap_or_default();
    }

    fn without_provider(plan: &Plan) -> Self {
        Self {
            provider: String::new(),
            address: String::new(),
            key_from: String::new(),
            headers: String::new(),
            python: String::new(),
            model: String::new(),
            requests_per_minute: String::new(),
            tokens_per_minute: String::new(),
            max_tokens: plan.sampling.max_tokens.to_string(),
            temperature: plan.sampling.temperature.to_string(),
            seed: plan.sampling.seed.to_string(),
            ignore_eos: plan.sampling.ignore_eos,
            raw: plan.raw,
            lanes: shown_lanes(&plan.lanes, &plan.provider),
            wrong_batch_size: None,
            repeats: plan.repeats.to_string(),
            on_error: plan.on_error,
        }
    }
}

impl Form {
    /// A form filled from a preset.
    pub fn new(preset: Preset, presets: Vec<String>, providers: Vec<String>) -> Self {
        let mut values = Values::of(&preset.plan);
        if !providers.contains(&values.provider) {
            values.provider = providers.first().cloned().unwrap_or(values.provider);
        }
        Self {
            focus: Field::Run,
            editing: None,
            presets,
            providers,
            prompts: Finding::Asked,
            model: Finding::Asked,
            models: Vec::new(),
            counts: None,
            values,
            preset: preset.name,
            query: preset.query,
            other_prompts: false,
            base: preset.plan,
        }
    }

    /// Takes all fields from a preset.
    pub fn take_preset(&mut self, preset: Preset) {
        self.values = Values::of(&preset.plan);
        self.preset = preset.name;
        self.query = preset.query;
        self.other_prompts = false;
        self.base = preset.plan;
        self.editing = None;
        self.prompts = Finding::Asked;
        self.model = Finding::Asked;
        self.models.clear();
    }

    /// Where the prompts come from.
    pub fn query(&self) -> &PromptQuery {
        &self.query
    }

    /// Takes another prompt list.
    pub fn take_prompts(&mut self, source: String) {
        self.query = PromptQuery { source, ..PromptQuery::default() };
        self.other_prompts = true;
        self.prompts = Finding::Asked;
    }

    /// The provider and model as they stand in the fields.
    pub fn provider(&self) -> ProviderSpec {
        let values = &self.values;
        let optional = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        // what the preset says of its provider is for that provider alone
        let same = values.provider == self.base.provider.provider;
        let base = if same { self.base.provider.clone() } else { ProviderSpec::default() };
        let spec = ProviderSpec {
            provider: values.provider.clone(),
            model: values.model.trim().to_owned(),
            ..base
        };
        if spec.provider == "mlx" {
            return ProviderSpec { python: optional(&values.python), ..spec };
        }
        if !spec.is_server() {
            return spec;
        }
        // what is wrong is told beside its field, and no run starts with it
        let server = ServerOptions {
            requests_per_minute: limit(&values.requests_per_minute).unwrap_or_default(),
            tokens_per_minute: limit(&values.tokens_per_minute).unwrap_or_default(),
            header_env: read_headers(&values.headers).unwrap_or_default(),
            ..spec.server
        };
        let (base_url, api_key_env) = (optional(&values.address), optional(&values.key_from));
        ProviderSpec { base_url, api_key_env, server, ..spec }
    }

    /// The fields of the form as it stands: a local model has no address and no key.
    pub fn fields(&self) -> Vec<Field> {
        let provider = self.provider();
        Field::ALL.into_iter().filter(|field| field.belongs_to(&provider)).collect()
    }

    /// Takes another provider, and what the preset says of it.
    fn take_provider(&mut self, provider: String) {
        let planned = &self.base.provider;
        let spec = if planned.provider == provider {
            planned.clone()
        } else if provider == ProviderSpec::default().provider {
            ProviderSpec::default()
        } else {
            ProviderSpec { model: String::new(), ..ProviderSpec::default() }
        };
        self.models.clear();
        self.values.take_provider(ProviderSpec { provider, ..spec });
    }

    /// The question for the tokens of the prompts as they stand, once a list of
    /// some prompts and the model are known.
    pub fn token_query(&self) -> Option<TokenQuery> {
        let prompts = self.prompts.known().filter(|list| !list.prompts.is_empty())?.clone();
        self.model.known()?;
        Some(TokenQuery { provider: self.provider(), prompts, raw: self.values.raw })
    }

    /// Takes an answer, if it still answers the question.
    pub fn take_counts(&mut self, query: TokenQuery, counts: Option<PromptTokens>) {
        if self.token_query().as_ref() == Some(&query) {
            self.counts = counts.map(|counts| (query, counts));
        }
    }

    /// The tokens of the first prompts, where they are known for what stands in the fields.
    pub fn counts(&self) -> Option<&PromptTokens> {
        let (query, counts) = self.counts.as_ref()?;
        (self.token_query().as_ref() == Some(query)).then_some(counts)
    }

    /// What stands in a field.
    pub fn value(&self, field: Field) -> String {
        let values = &self.values;
        let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        match field {
            Field::Preset => self.preset.clone(),
            Field::Prompts => self.query.source.clone(),
            Field::Column => self.query.column.clone().unwrap_or_default(),
            Field::Template => self.query.template.clone().unwrap_or_default(),
            Field::Provider => values.provider.clone(),
            Field::Address => values.address.clone(),
            Field::KeyFrom => values.key_from.clone(),
            Field::Headers => values.headers.clone(),
            Field::Python => values.python.clone(),
            Field::Model => values.model.clone(),
            Field::RequestsPerMinute => values.requests_per_minute.clone(),
            Field::TokensPerMinute => values.tokens_per_minute.clone(),
            Field::MaxTokens => values.max_tokens.clone(),
            Field::Temperature => values.temperature.clone(),
            Field::Seed => values.seed.clone(),
            Field::IgnoreEos => yes_no(values.ignore_eos),
            Field::Raw => yes_no(values.raw),
            Field::Lanes => values.lanes.clone(),
            Field::BatchSize => {
                let valid = || written_sizes(&self.batch_sizes());
                values.wrong_batch_size.clone().unwrap_or_else(valid)
            }
            Field::Repeats => values.repeats.clone(),
            Field::OnError => match values.on_error {
                OnError::Stop => "stop".to_owned(),
                OnError::Continue => "continue".to_owned(),
            },
            Field::Run => String::new(),
        }
    }

    /// Puts a text into a text field, valid or not.
    pub fn set(&mut self, field: Field, text: &str) {
        let optional = || Some(text.to_owned()).filter(|text| !text.is_empty());
        let values = &mut self.values;
        match field {
            Field::Column => self.query.column = optional(),
            Field::Template => {
                self.query.template = optional();
                self.query.template_base = None;
            }
            Field::Address => values.address = text.to_owned(),
            Field::KeyFrom => values.key_from = text.to_owned(),
            Field::Headers => values.headers = text.to_owned(),
            Field::Python => values.python = text.to_owned(),
            Field::Model => values.model = text.to_owned(),
            Field::RequestsPerMinute => values.requests_per_minute = text.to_owned(),
            Field::TokensPerMinute => values.tokens_per_minute = text.to_owned(),
            Field::MaxTokens => values.max_tokens = text.to_owned(),
            Field::Temperature => values.temperature = text.to_owned(),
            Field::Seed => values.seed = text.to_owned(),
            Field::Lanes => values.lanes = text.to_owned(),
            Field::BatchSize => self.set_batch_size(text),
            Field::Repeats => values.repeats = text.to_owned(),
            Field::Preset
            | Field::Prompts
            | Field::Provider
            | Field::IgnoreEos
            | Field::Raw
            | Field::OnError
            | Field::Run => {}
        }
    }

    /// Begins to type into the field in focus.
    pub fn begin_edit(&mut self) {
        let before = self.value(self.focus);
        self.editing = Some(Editing { input: TextInput::new(before.clone()), before });
    }

    /// Takes what was typed so far into the field.
    pub fn typed(&mut self) {
        if let Some(editing) = &self.editing {
            let text = editing.input.text().to_owned();
            self.set(self.focus, &text);
        }
    }

    /// Ends typing; what was typed is kept or forgotten.
    pub fn end_edit(&mut self, keep: bool) {
        if let Some(editing) = self.editing.take()
            && !keep
        {
            self.set(self.focus, &editing.before);
        }
    }

    /// Changes a choice, or a number by one step; whether there was something to change.
    /// Presets are not chosen here, since they must be read.
    pub fn step(&mut self, field: Field, up: bool) -> bool {
        match field {
            Field::IgnoreEos => self.values.ignore_eos = !self.values.ignore_eos,
            Field::Raw => self.values.raw = !self.values.raw,
            Field::OnError => {
                self.values.on_error = match self.values.on_error {
                    OnError::Stop => OnError::Continue,
                    OnError::Continue => OnError::Stop,
                }
            }
            Field::Provider => match neighbour(&self.providers, &self.values.provider, up) {
                Some(provider) => self.take_provider(provider),
                None => return false,
            },
            Field::Model => {
                let names: Vec<String> =
                    self.models.iter().map(|model| model.name.clone()).collect();
                match neighbour(&names, self.values.model.trim(), up) {
                    Some(model) => self.values.model = model,
                    None => return false,
                }
            }
            Field::MaxTokens | Field::BatchSize | Field::Repeats | Field::Seed => {
                let least = u64::from(field != Field::Seed);
                let Ok(number) = self.value(field).parse::<u64>() else { return false };
                let number = if up { number.saturating_add(1) } else { number.saturating_sub(1) };
                self.set(field, &number.max(least).to_string());
            }
            Field::Preset
            | Field::Prompts
            | Field::Column
            | Field::Template
            | Field::Address
            | Field::KeyFrom
            | Field::Headers
            | Field::Python
            | Field::RequestsPerMinute
            | Field::TokensPerMinute
            | Field::Temperature
            | Field::Lanes
            | Field::Run => return false,
        }
        true
    }

    /// The preset before or after the current one.
    pub fn other_preset(&self, next: bool) -> Option<String> {
        neighbour(&self.presets, &self.preset, next)
    }

    /// What is wrong with a field.
    pub fn error(&self, field: Field) -> Option<String> {
        match field {
            Field::Prompts => match &self.prompts {
                Finding::Failed(reason) => Some(reason.clone()),
                Finding::Asked | Finding::Known(_) => None,
            },
            Field::KeyFrom => wrong_variable(&self.values.key_from),
            Field::Headers => read_headers(&self.values.headers).err(),
            Field::RequestsPerMinute => limit(&self.values.requests_per_minute).err(),
            Field::TokensPerMinute => limit(&self.values.tokens_per_minute).err(),
            Field::Model if self.values.model.trim().is_empty() && !self.provider().is_server() => {
                Some("the model is empty: write a name, a folder or a file".to_owned())
            }
            Field::MaxTokens => number::<usize>("max tokens", &self.values.max_tokens, 1).err(),
            Field::Temperature => self.temperature().err(),
            Field::Seed => number::<u64>("the seed", &self.values.seed, 0).err(),
            Field::Lanes => self.lanes().err(),
            Field::BatchSize => self.wrong_batch_size(),
            Field::Repeats => number::<usize>("repeats", &self.values.repeats, 1).err(),
            Field::Preset
            | Field::Column
            | Field::Template
            | Field::Provider
            | Field::Address
            | Field::Python
            | Field::Model
            | Field::IgnoreEos
            | Field::Raw
            | Field::OnError
            | Field::Run => None,
        }
    }

    /// The first field that is wrong, and why.
    pub fn first_error(&self) -> Option<(Field, String)> {
        self.fields().into_iter().find_map(|field| Some((field, self.error(field)?)))
    }

    /// The plan that the fields describe.
    ///
    /// # Errors
    /// The field that is wrong, and why.
    pub fn plan(&self) -> Result<Plan, (Field, String)> {
        if let Some(wrong) = self.first_error() {
            return Err(wrong);
        }
        let values = &self.values;
        let mut plan = self.base.clone();
        plan.prompts.clone_from(&self.query.source);
        plan.column.clone_from(&self.query.column);
        plan.template = self.query.written_template();
        if let Some(list) = self.prompts.known().filter(|_| self.other_prompts) {
            plan.name.clone_from(&list.name);
        }
        plan.provider = self.provider();
        let at = |field| move |error: String| (field, error);
        plan.sampling.max_tokens =
            number("max tokens", &values.max_tokens, 1).map_err(at(Field::MaxTokens))?;
        plan.sampling.temperature = self.temperature().map_err(at(Field::Temperature))?;
        plan.sampling.seed = number("the seed", &values.seed, 0).map_err(at(Field::Seed))?;
        plan.sampling.ignore_eos = values.ignore_eos;
        plan.raw = values.raw;
        plan.lanes = self.lanes().map_err(at(Field::Lanes))?;
        plan.repeats = number("repeats", &values.repeats, 1).map_err(at(Field::Repeats))?;
        plan.on_error = values.on_error;
        plan.validate().map_err(|error| (Field::Lanes, error.to_string()))?;
        Ok(plan)
    }

    /// The lanes as they are written, with what no text says kept from the preset.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn lanes(&self) -> Result<Vec<LaneSpec>, String> {
        let texts = self.values.lanes.split(',').map(str::trim);
        if self.values.lanes.trim().is_empty() {
            return Err("there is no lane: write at least one, such as batched:16".to_owned());
        }
        let entries: Result<Vec<LaneEntry>, _> = texts.map(str::parse).collect();
        let entries = entries.map_err(|error| error.to_string())?;
        let provider = ProviderLayer::of(&self.provider());
        let mut lanes: Vec<LaneSpec> =
            entries.into_iter().map(|entry| entry.spec(&provider)).collect();
        for lane in lanes.iter_mut().filter(|lane| lane.provider.is_none()) {
            lane.provider = self.unwritten_provider(&lane.label);
        }
        let plan = Plan { lanes, ..self.base.clone() };
        let sampling = crate::sampling::Sampling::default();
        let plan = Plan { sampling, repeats: 1, ..plan };
        plan.validate().map_err(|error| error.to_string())?;
        Ok(plan.lanes)
    }

    /// The preset's own provider of the lane of this label, where no text can say it.
    fn unwritten_provider(&self, label: &str) -> Option<ProviderSpec> {
        let planned = self.base.lanes.iter().find(|planned| planned.label == label)?;
        let unwritten = written_lane(planned, &self.base.provider).is_none();
        planned.provider.clone().filter(|_| unwritten)
    }

    /// The batch sizes of the lanes that have one.
    fn batch_sizes(&self) -> Vec<usize> {
        let lanes = self.lanes().unwrap_or_default();
        lanes.iter().filter_map(|lane| lane.mode.batch_size()).collect()
    }

    /// Takes a batch size; a batched lane is added where no lane has one.
    pub fn take_batch_size(&mut self, size: usize) {
        if self.lanes().is_ok() && self.batch_sizes().is_empty() {
            self.values.lanes = format!("{},batched:{size}", self.values.lanes.trim());
            self.values.wrong_batch_size = None;
        } else {
            self.set_batch_size(&size.to_string());
        }
    }

    fn temperature(&self) -> Result<f32, String> {
        let text = self.values.temperature.trim();
        let temperature =
            text.parse().map_err(|_| format!("temperature \"{text}\" is not a number"))?;
        let sampling = crate::sampling::Sampling { temperature, ..Default::default() };
        sampling.validate().map_err(|error| error.to_string())?;
        Ok(temperature)
    }

    fn wrong_batch_size(&self) -> Option<String> {
        let text = self.values.wrong_batch_size.as_ref()?;
        read_sizes(text, self.batch_sizes().len()).err()
    }

    /// Writes batch sizes into the lanes that have one, or keeps the text as wrong.
    fn set_batch_size(&mut self, text: &str) {
        self.values.wrong_batch_size = None;
        let Ok(mut lanes) = self.lanes() else {
            self.values.wrong_batch_size = Some(text.to_owned());
            return;
        };
        let batched = lanes.iter_mut().filter(|lane| lane.mode.batch_size().is_some());
        let batched: Vec<&mut LaneSpec> = batched.collect();
        let Ok(sizes) = read_sizes(text, batched.len()) else {
            // without a batched lane, an empty field is right
            let kept = Some(text.to_owned());
            self.values.wrong_batch_size =
                kept.filter(|text| !(text.is_empty() && batched.is_empty()));
            return;
        };
        for (lane, size) in batched.into_iter().zip(sizes) {
            let named = lane.label != lane.mode.to_string();
            lane.mode = with_batch_size(lane.mode, size);
            if !named {
                lane.label = lane.mode.to_string();
            }
        }
        self.values.lanes = shown_lanes(&lanes, &self.provider());
    }
}

/// One size where all are the same, else all of them.
fn written_sizes(sizes: &[usize]) -> String {
    match sizes {
        [first, rest @ ..] if rest.iter().all(|size| size == first) => first.to_string(),
        sizes => sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
    }
}

/// A size for each of `lanes` lanes: one for all, or one for each.
fn read_sizes(text: &str, lanes: usize) -> Result<Vec<usize>, String> {
    if lanes == 0 {
        return Err("no lane has a batch size: add one such as batched:16".to_owned());
    }
    let sizes: Result<Vec<usize>, String> =
        text.split(',').map(|size| number("the batch size", size, 1)).collect();
    match sizes? {
        sizes if sizes.len() == lanes => Ok(sizes),
        sizes if sizes.len() == 1 => Ok(vec![sizes[0]; lanes]),
        sizes => Err(format!(
            "there are {} sizes and {lanes} batched lanes: write one size for all, or one for each",
            sizes.len()
        )),
    }
}

/// The mode with another batch size, where it has one.
fn with_batch_size(mode: Mode, batch_size: usize) -> Mode {
    match mode {
        Mode::Batched { .. } => Mode::Batched { batch_size },
        Mode::BatchedAsync { in_flight, .. } => Mode::BatchedAsync { batch_size, in_flight },
        Mode::Sequential | Mode::Async { .. } | Mode::Offline => mode,
    }
}

/// Lanes as they are written after `--lanes`; without their provider where no text can say it.
fn shown_lanes(lanes: &[LaneSpec], plan: &ProviderSpec) -> String {
    let shown = lanes.iter().map(|lane| {
        let bare = || {
            let bare = LaneSpec { provider: None, ..lane.clone() };
            written_lane(&bare, plan).unwrap_or_else(|| lane.mode.flag())
        };
        written_lane(lane, plan).unwrap_or_else(bare)
    });
    shown.collect::<Vec<_>>().join(",")
}

/// The value before or after `current`, around the end.
fn neighbour(all: &[String], current: &str, next: bool) -> Option<String> {
    let Some(place) = all.iter().position(|name| name == current) else {
        return all.first().cloned();
    };
    let count = all.len();
    let place = if next { place + 1 } else { place + count - 1 } % count;
    Some(all[place].clone()).filter(|name| name != current)
}

/// What is wrong with the name of an environment variable. It would be kept with the run, so what
/// looks like a key typed by mistake is refused, and not repeated.
fn wrong_variable(name: &str) -> Option<String> {
    let name = name.trim();
    let sound = name.is_empty() || secret::check_name(name).is_ok();
    let is_key = name.len() > 24 && name.contains(|c: char| c.is_ascii_lowercase());
    (!sound || is_key).then(|| {
        "that is no name of an environment variable: write a name such as OPENAI_API_KEY".to_owned()
    })
}

/// A limit a minute; without a text there is none.
fn limit(text: &str) -> Result<Option<usize>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    number("the limit a minute", text, 1).map(Some)
}

/// Headers and the variables of their values: `name=VARIABLE`, separated by commas.
fn read_headers(text: &str) -> Result<BTreeMap<String, String>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read = parts.map(|part| {
        let pair = part.split_once('=').map(|(name, from)| (name.trim(), from.trim()));
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        match pair {
            Some((name, from)) if is_name(name) && !from.is_empty() => match wrong_variable(from) {
                None => Ok((name.to_owned(), from.to_owned())),
                Some(reason) => Err(reason),
            },
            // what was typed may be a secret: it is not repeated
            _ => Err("write header names with variables, such as X-Team=TEAM_VAR".to_owned()),
        }
    });
    read.collect()
}

fn number<T>(what: &str, text: &str, least: u64) -> Result<T, String>
where
    T: TryFrom<u64>,
{
    let text = text.trim();
    let number: u64 = text.parse().map_err(|_| match text {
        "" => format!("{what} is empty: write a whole number"),
        _ => format!("{what} \"{text}\" is not a whole number"),
    })?;
    if number < least {
        return Err(format!("{what} is {number}: it must be at least {least}"));
    }
    T::try_from(number).map_err(|_| format!("{what} {number} is too large"))
}
