//! A workbench filled from events with fixed times.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batchgen::bench::event::RunEvent;
use batchgen::bench::recorder::Recorder;
use batchgen::config::{OnError, Plan};
use batchgen::probe::{Reading, Sample};
use batchgen::prompts::{Content, Prompt, PromptList};
use batchgen::provider::{
    Batching, EngineMemory, Event, FinishReason, ProviderInfo, ProviderSpec, Stamped, Support,
    TokenCounts, Usage,
};
use batchgen::sampling::Sampling;
use batchgen::tui::app::{App, Effect, Opening, Reply};
use batchgen::tui::form::{ModelFacts, Preset, PromptQuery, PromptTokens};
use batchgen::tui::keymap::Keymap;
use batchgen::tui::session::{RunStart, Session};
use batchgen::tui::{theme, update, views};
use crossterm::event::{Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Size;
use unicode_width::UnicodeWidthStr;

pub const QUESTIONS: [&str; 8] = [
    "Name three rivers in Africa.",
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "翻译成英语：今天天气很好。",
    "Count from one to five.",
    "Why is the sky blue?",
    "Give a synonym for \"fast\".",
    "List two primary colours.",
];

const ANSWERS: [&str; 8] = [
    "The Nile, the Amazon and the Congo are three well-known rivers.",
    "The capital of France is Paris.",
    "The sea rolls in and out, patient as breathing.",
    "The weather is very good today.",
    "One, two, three, four, five.",
    "Because air scatters blue light more than red light.",
    "Quick.",
    "Red and blue.",
];

pub fn plan(lanes: &str) -> Plan {
    Plan {
        name: "quickstart".into(),
        prompts: "quickstart".into(),
        column: None,
        template: None,
        raw: false,
        provider: ProviderSpec::default(),
        sampling: Sampling::default(),
        lanes: lanes.split(',').map(|lane| lane.parse().unwrap()).collect(),
        repeats: 1,
        warmup: 1,
        on_error: OnError::Stop,
        max_cost_usd: None,
    }
}

pub fn prompts(count: usize) -> Arc<PromptList> {
    let prompt = |index: usize| {
        Arc::new(Prompt {
            index,
            id: format!("row-{}", index + 1),
            content: Content::Text(QUESTIONS[index % QUESTIONS.len()].into()),
            expect: None,
        })
    };
    Arc::new(PromptList { name: "quickstart".into(), prompts: (0..count).map(prompt).collect() })
}

pub fn opening() -> Opening {
    let query = PromptQuery { source: "quickstart".into(), ..PromptQuery::default() };
    Opening {
        preset: Preset {
            name: "quickstart".into(),
            plan: plan("sequential,async:8,batched:16"),
            query,
        },
        presets: vec!["quickstart".into(), "summarise".into()],
        providers: vec!["local".into(), "openai".into()],
        built_in: vec![
            ("quickstart".into(), "32 varied short questions and tasks".into()),
            ("canary".into(), "each prompt asks to repeat its own code word".into()),
        ],
        keymap: Keymap::default(),
        themes: theme::shipped(),
        theme: 0,
        folder: PathBuf::from("/home/someone"),
        warnings: Vec::new(),
    }
}

/// A workbench whose clock starts at `epoch`.
pub struct Bench {
    pub app: App,
    pub epoch: Instant,
}

impl Bench {
    /// Setup, with nothing known yet.
    pub fn opened(width: u16, height: u16) -> Self {
        let epoch = Instant::now();
        Self { app: App::new(opening(), Size { width, height }, epoch), epoch }
    }

    /// Setup, with the prompts loaded and the model found.
    pub fn ready(width: u16, height: u16) -> Self {
        let mut bench = Self::opened(width, height);
        let query = bench.app.form.query().clone();
        bench.reply(Reply::Prompts(query, Ok(prompts(QUESTIONS.len()))));
        let facts = ModelFacts {
            here: true,
            lines: vec!["cached: smollm2-135m-instruct, 98.0 MB".into(), "GGUF, Q4_1".into()],
        };
        let effects = bench.effects(Reply::Model(ProviderSpec::default(), Ok(facts)));
        let [Effect::CountTokens(query)] = effects.as_slice() else { panic!("{effects:?}") };
        let rows = (0..QUESTIONS.len()).map(|row| Some(30 + 7 * row)).collect();
        bench.reply(Reply::Tokens(query.clone(), Some(PromptTokens { rows })));
        bench
    }

    /// Run, right after it was started.
    pub fn started(width: u16, height: u16, lanes: &str, rows: usize) -> Self {
        let mut bench = Self::ready(width, height);
        let plan = plan(lanes);
        let recorder = Recorder::new(&plan, rows, bench.epoch);
        let started_at = "2026-11-23T18:00:00Z".parse().unwrap();
        let id = "2026-11-23T18-00-00Z".to_owned();
        let folder = PathBuf::from("/home/someone/.local/share/batchgen/runs").join(&id);
        let start = RunStart { id, folder, started_at, recorder };
        let session = Session::new(start, plan, prompts(rows));
        bench.reply(Reply::Started(Box::new(session)));
        bench
    }

    /// Run, with the first lane done and the second one under way.
    pub fn half_way(width: u16, height: u16) -> Self {
        let mut bench = Self::started(width, height, "sequential,async:4,batched:4", 8);
        bench.ready_providers();
        bench.sequential_lane();
        bench.concurrent_lane(1, 6);
        bench
    }

    /// Run, with all lanes done and one row that differs.
    pub fn done(width: u16, height: u16) -> Self {
        let mut bench = Self::started(width, height, "sequential,async:4,batched:4", 8);
        bench.ready_providers();
        bench.sequential_lane();
        bench.concurrent_lane(1, 8);
        bench.finish_lane(8_600);
        bench.concurrent_lane(2, 8);
        bench.finish_lane(13_600);
        bench.run(13_700, RunEvent::RunFinished);
        update::run_closed(&mut bench.app);
        bench.at(14_000);
        bench
    }

    /// A sweep whose first `ended` sizes have run.
    pub fn sweep(width: u16, height: u16, ended: usize) -> Self {
        let sizes = [1usize, 2, 4, 8, 16];
        let lanes: Vec<String> = sizes.iter().map(|size| format!("batched:{size}")).collect();
        let mut bench = Self::started(width, height, &lanes.join(","), 8);
        let mut begin = 100;
        for (lane, size) in sizes.iter().enumerate().take(ended) {
            bench.run(10, RunEvent::ProviderReady { lane, info: info() });
            bench.run(begin, RunEvent::LaneStarted { lane, repeat: 0 });
            // a step costs 4 and half a row
            let took = 200 * (4 + *size as u64 / 2).max(1) / *size as u64 * 8;
            for (row, answer) in ANSWERS.iter().enumerate() {
                bench.provider(begin, Event::Submitted { row });
                let share = took * (row as u64 / *size as u64 * *size as u64) / 8;
                let span = took * (*size as u64).min(8) / 8;
                bench.answer(begin + share + 20, span - 20, row, answer);
            }
            let kv = 1_400_000 * *size as u64;
            bench.memory(begin + took, 190_000_000, kv);
            begin += took;
            bench.finish_lane(begin);
        }
        if ended == sizes.len() {
            bench.run(begin + 10, RunEvent::RunFinished);
            update::run_closed(&mut bench.app);
        } else {
            bench.run(begin, RunEvent::LaneStarted { lane: ended, repeat: 0 });
            bench.provider(begin, Event::Submitted { row: 0 });
        }
        bench.at(begin + 500);
        bench
    }

    pub fn reply(&mut self, reply: Reply) {
        let effects = self.effects(reply);
        assert!(effects.is_empty(), "{effects:?}");
    }

    pub fn effects(&mut self, reply: Reply) -> Vec<Effect> {
        update::reply(&mut self.app, reply, self.epoch)
    }

    /// Something happened in the run, `ms` after its start.
    pub fn run(&mut self, ms: u64, event: RunEvent) {
        let at = self.epoch + Duration::from_millis(ms);
        update::run_event(&mut self.app, Stamped { at, event });
    }

    pub fn provider(&mut self, ms: u64, event: Event) {
        self.run(ms, RunEvent::Provider(event));
    }

    /// Time passes.
    pub fn at(&mut self, ms: u64) {
        update::refresh(&mut self.app, self.epoch + Duration::from_millis(ms));
    }

    pub fn ready_providers(&mut self) {
        self.ready_providers_of(3);
    }

    pub fn ready_providers_of(&mut self, lanes: usize) {
        for lane in 0..lanes {
            self.run(10, RunEvent::ProviderReady { lane, info: info() });
        }
    }

    /// The reference lane: eight rows of half a second each.
    pub fn sequential_lane(&mut self) {
        self.run(100, RunEvent::LaneStarted { lane: 0, repeat: 0 });
        for (row, answer) in ANSWERS.iter().enumerate() {
            let start = 100 + 500 * row as u64;
            self.provider(start, Event::Submitted { row });
            self.answer(start + 30, 450, row, answer);
            self.memory(start + 200, 180_000_000 + 250_000 * row as u64, 1_400_000);
        }
        self.run(4_100, RunEvent::LaneFinished { failure: None });
    }

    /// A lane that runs four rows at a time; `rows` of them end. The fifth row of the third
    /// lane differs.
    pub fn concurrent_lane(&mut self, lane: usize, rows: usize) {
        let begin = 4_200 + 5_000 * (lane as u64 - 1);
        self.run(begin, RunEvent::LaneStarted { lane, repeat: 0 });
        for (row, answer) in ANSWERS.iter().enumerate() {
            let start = begin + 1_000 * (row as u64 / 4);
            self.provider(start, Event::Submitted { row });
            if row < rows {
                let different = "One, two, three, 四, five.";
                let text = if lane == 2 && row == 4 { different } else { answer };
                self.answer(start + 100 + 10 * row as u64, 700, row, text);
            }
            let bytes = 194_000_000 + 400_000 * row as u64;
            self.memory(start + 300 + row as u64, bytes, 11_000_000);
        }
        self.at(begin + 2_000);
    }

    fn finish_lane(&mut self, ms: u64) {
        self.run(ms, RunEvent::LaneFinished { failure: None });
    }

    /// The words of `text` over `span` ms, one token a word.
    fn answer(&mut self, first: u64, span: u64, row: usize, text: &str) {
        let words: Vec<&str> = text.split_inclusive(' ').collect();
        let gap = span / words.len() as u64;
        for (place, word) in words.iter().enumerate() {
            let event =
                Event::Tokens { row, count: 1, ids: vec![place as u32], text: (*word).to_owned() };
            self.provider(first + gap * place as u64, event);
        }
        let usage = Usage { prompt_tokens: Some(12), output_tokens: Some(words.len()) };
        let reason = FinishReason::Stop;
        self.provider(first + span, Event::Finished { row, usage, reason });
    }

    fn memory(&mut self, ms: u64, bytes: u64, kv: u64) {
        self.provider(ms, Event::Memory(EngineMemory { weights: 98_000_000, kv }));
        let process = Some(Reading { bytes, source: "/proc/self/status VmRSS".into() });
        self.run(ms, RunEvent::Probe(Sample { process, ..Sample::default() }));
    }

    pub fn key(&mut self, code: KeyCode) -> Vec<Effect> {
        let event = TerminalEvent::Key(KeyEvent::new(code, KeyModifiers::NONE));
        let now = self.app.now;
        update::terminal_event(&mut self.app, event, now)
    }

    pub fn press(&mut self, c: char) -> Vec<Effect> {
        self.key(KeyCode::Char(c))
    }

    fn drawn(&self) -> Buffer {
        let Size { width, height } = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| views::render(frame, &self.app)).unwrap();
        terminal.backend().buffer().clone()
    }

    /// Takes another theme.
    pub fn in_theme(mut self, name: &str) -> Self {
        self.app.theme = self.app.themes.iter().position(|theme| theme.name == name).unwrap();
        self
    }

    /// The style of every cell as a letter, with what each letter stands for; cells of the most
    /// common style are left blank.
    pub fn styles(&self) -> String {
        let buffer = self.drawn();
        let style = |cell: &Cell| format!("{:?} on {:?} {:?}", cell.fg, cell.bg, cell.modifier);
        let styles: Vec<String> = buffer.content().iter().map(style).collect();
        let mut known: Vec<(&str, usize)> = Vec::new();
        for style in &styles {
            match known.iter_mut().find(|(known, _)| known == style) {
                Some((_, count)) => *count += 1,
                None => known.push((style, 1)),
            }
        }
        let most = known.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let common = known.iter().position(|(_, count)| *count == most).unwrap_or(0);
        known.swap(0, common);
        let letter = |place: usize| [' '].into_iter().chain('a'..='z').nth(place).unwrap();
        let place = |style: &String| known.iter().position(|(known, _)| known == style).unwrap();
        let width = usize::from(self.app.size.width).max(1);
        let lines = styles.chunks(width).map(|styles| {
            let line: String = styles.iter().map(|style| letter(place(style))).collect();
            line.trim_end().to_owned()
        });
        let legend = known.iter().enumerate();
        let legend = legend.map(|(place, (style, _))| format!("{:?} {style}", letter(place)));
        lines.chain(legend).collect::<Vec<_>>().join("\n")
    }

    /// What is on the screen, without colours.
    pub fn screen(&self) -> String {
        let width = self.app.size.width;
        let buffer = self.drawn();
        let lines = buffer.content().chunks(usize::from(width).max(1)).map(|cells| {
            let mut line = String::new();
            // the cells behind a wide character are covered by it
            let mut covered = 0;
            for cell in cells {
                if covered == 0 {
                    line.push_str(cell.symbol());
                    covered = cell.symbol().width().max(1);
                }
                covered -= 1;
            }
            line.trim_end().to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub fn info() -> ProviderInfo {
    ProviderInfo {
        provider: "local".into(),
        model: "SmolLM2-135M-Instruct Q4_1".into(),
        model_sha256: None,
        device: "cpu".into(),
        details: Vec::new(),
        batching: Batching::Native,
        offline: Support::No { reason: "no".into(), instead: "batched".into() },
        context_length: Some(2048),
        token_counts: TokenCounts::Exact,
        price: None,
        batch_invariant: true,
    }
}
