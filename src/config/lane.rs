//! Lanes as they are written after `--lanes`, in a preset's list and on the screen:
//! `[label=]mode[@[provider] [key=value …]]`, such as `async:8` or
//! `server=async:8@openai base_url=http://127.0.0.1:8080`.

use std::str::FromStr;

use super::layer::{LaneEntry, ProviderLayer};
use super::plan::PlanError;
use super::{LaneSpec, Mode};
use crate::provider::ProviderSpec;

/// What may be said of a lane's own provider besides its name.
const KEYS: &str = "model, base_url, api_key_env, runner, threads and python";

impl FromStr for LaneEntry {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        // a label may hold an @ too: the provider's is the first that has a lane before it
        let parts = text.match_indices('@').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let mut read =
            parts.filter_map(|(lane, rest)| Some((lane.parse::<LaneSpec>().ok()?, lane, rest)));
        let Some((mut lane, written, provider)) = read.next() else {
            return text.parse::<LaneSpec>().map(Self::from);
        };
        let provider = read_provider(provider)
            .map_err(|why| PlanError(format!("lane \"{}\": {why}", text.trim())))?;
        if !written.contains('=') {
            lane.label = default_label(lane.mode, provider.name.as_deref());
        }
        Ok(Self { lane, provider })
    }
}

/// The label of a lane that is given none.
fn default_label(mode: Mode, provider: Option<&str>) -> String {
    provider.map_or_else(|| mode.to_string(), |provider| format!("{mode} on {provider}"))
}

fn read_provider(text: &str) -> Result<ProviderLayer, String> {
    let mut layer = ProviderLayer::default();
    let mut words = text.split_whitespace().peekable();
    layer.name = words.next_if(|word| !word.contains('=')).map(str::to_owned);
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| format!("after @provider come keys with values, not {word:?}"))?;
        let value = Some(value.to_owned());
        match key.replace('-', "_").as_str() {
            "model" => layer.model = value,
            "base_url" => layer.base_url = value,
            "api_key_env" => layer.api_key_env = value,
            "runner" => layer.runner = value,
            "python" => layer.python = value,
            "threads" => {
                let number = value.as_deref().and_then(|value| value.parse().ok());
                layer.threads = Some(number.ok_or("threads is a whole number")?);
            }
            other => return Err(format!("a lane's provider has no {other:?}: there are {KEYS}")),
        }
    }
    match layer == ProviderLayer::default() {
        true => Err(format!("after @ comes a provider, or one of {KEYS}")),
        false => Ok(layer),
    }
}

/// A lane of a plan whose provider is `plan`, as it is written; `None` where that cannot say all
/// of it.
pub fn written_lane(lane: &LaneSpec, plan: &ProviderSpec) -> Option<String> {
    let own = lane.provider.as_ref().filter(|own| *own != plan);
    let name = own.map(|own| own.provider.as_str()).filter(|name| *name != plan.provider);
    let mut text = lane.mode.flag();
    if let Some(own) = own {
        let keys = written_provider(own, plan, name)?;
        text = format!("{text}@{}", keys.join(" "));
    }
    if lane.label != default_label(lane.mode, name) {
        text = format!("{}={text}", lane.label);
    }
    let same = |read: LaneSpec| {
        let (was, is) = (lane.provider.as_ref(), read.provider.as_ref());
        was.unwrap_or(plan) == is.unwrap_or(plan) && read.label == lane.label
    };
    let read: LaneEntry = text.parse().ok()?;
    (!text.contains(',') && same(read.spec(&ProviderLayer::of(plan)))).then_some(text)
}

/// The words after the `@`: what the layer below does not say.
fn written_provider(
    own: &ProviderSpec,
    plan: &ProviderSpec,
    name: Option<&str>,
) -> Option<Vec<String>> {
    let named = ProviderLayer { name: name.map(str::to_owned), ..ProviderLayer::default() };
    let below = named.over(ProviderLayer::of(plan)).spec();
    let threads = |spec: &ProviderSpec| spec.threads.map(|threads| threads.to_string());
    let mut words: Vec<String> = name.map(str::to_owned).into_iter().collect();
    for (key, own, below) in [
        ("model", Some(own.model.clone()), Some(below.model.clone())),
        ("base_url", own.base_url.clone(), below.base_url.clone()),
        ("api_key_env", own.api_key_env.clone(), below.api_key_env.clone()),
        ("runner", own.runner.clone(), below.runner.clone()),
        ("threads", threads(own), threads(&below)),
        ("python", own.python.clone(), below.python.clone()),
    ] {
        if own != below {
            words.push(format!("{key}={}", own?));
        }
    }
    Some(words)
}

/// Lanes of a plan as they are written after `--lanes`; `None` where that cannot say all of them.
pub fn written_lanes(lanes: &[LaneSpec], plan: &ProviderSpec) -> Option<String> {
    let texts: Option<Vec<String>> = lanes.iter().map(|lane| written_lane(lane, plan)).collect();
    texts.map(|texts| texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, plan: &ProviderSpec) -> LaneSpec {
        text.parse::<LaneEntry>().unwrap().spec(&ProviderLayer::of(plan))
    }

    fn refused(text: &str) -> String {
        text.parse::<LaneEntry>().unwrap_err().to_string()
    }

    #[test]
    fn a_lane_may_have_a_provider_of_its_own() {
        let plan = ProviderSpec::default();
        let lane = read("server=async:8@openai base_url=http://h:1/v1 api-key-env=KEY", &plan);
        assert_eq!((lane.label.as_str(), lane.mode), ("server", Mode::Async { in_flight: 8 }));
        let own = lane.provider.unwrap();
        assert_eq!((own.provider.as_str(), own.model.as_str()), ("openai", ""), "a server's first");
        assert_eq!(own.base_url.as_deref(), Some("http://h:1/v1"));
        assert_eq!(own.api_key_env.as_deref(), Some("KEY"));
        assert_eq!(read("async:8@openai", &plan).label, "async 8 on openai");
    }

    #[test]
    fn a_lane_that_names_only_a_model_keeps_the_rest_of_the_plans_provider() {
        let plan = ProviderSpec { threads: Some(3), ..ProviderSpec::default() };
        let own = read("batched:4@model=other", &plan).provider.unwrap();
        assert_eq!(
            (own.provider.as_str(), own.model.as_str(), own.threads),
            ("local", "other", Some(3))
        );
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_lane() {
        let local = ProviderSpec { threads: Some(3), ..ProviderSpec::default() };
        let server = ProviderSpec {
            provider: "openai".into(),
            model: "m".into(),
            base_url: Some("http://h".into()),
            ..ProviderSpec::default()
        };
        for plan in [&local, &server] {
            for text in [
                "sequential",
                "b=batched:4",
                "a@b=batched:4",
                "async:8@ollama",
                "x=async:8@ollama model=llama3.2",
                "batched:4@threads=2",
                "batched:4@model=",
                "l=batched:16@local threads=1 runner=candle",
            ] {
                let lane = read(text, plan);
                let written = written_lane(&lane, plan);
                let again = written.as_deref().map(|text| read(text, plan));
                let own = |lane: &LaneSpec| lane.provider.clone().unwrap_or(plan.clone());
                let again = again.unwrap_or_else(|| panic!("{text} cannot be written"));
                assert_eq!(
                    (own(&again), &again.label),
                    (own(&lane), &lane.label),
                    "{text}: {written:?}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_written_is_not() {
        let plan = ProviderSpec { threads: Some(3), ..ProviderSpec::default() };
        let lane = |change: fn(&mut ProviderSpec)| {
            let mut own = plan.clone();
            change(&mut own);
            LaneSpec { provider: Some(own), ..read("batched:4", &plan) }
        };
        for lane in [
            lane(|own| own.model = "two words".into()),
            lane(|own| own.model = "a,b".into()),
            lane(|own| own.threads = None),
            lane(|own| own.server.retries = Some(1)),
            LaneSpec { label: "a=b".into(), ..read("batched:4", &plan) },
            LaneSpec { label: "a,b".into(), ..read("batched:4", &plan) },
        ] {
            assert_eq!(written_lane(&lane, &plan), None, "{lane:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(refused("async:8@").contains("after @ comes a provider"));
        assert!(refused("async:8@openai frob=1").contains("no \"frob\": there are model"));
        assert!(refused("async:8@openai http://h").contains("keys with values"));
        assert!(refused("async:8@local threads=many").contains("whole number"));
        assert!(refused("asink:8@openai").contains("no such mode"));
    }
}
