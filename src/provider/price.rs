//! What vendors charge for tokens, and what a row costs at that price.
//!
//! Prices change: each has the date on which it was read. A model without a price costs an
//! unknown amount, never nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Failure, FailureKind, Usage};

/// The price of a model, US dollars for a million tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens.
    pub input: f64,
    /// Prompt tokens that the vendor had in its cache; those of the prompt where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<f64>,
    /// Generated tokens, hidden reasoning included.
    pub output: f64,
    /// What a token in a batch job costs, as a share of these prices; unknown where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<f64>,
    /// The day on which the price was read.
    pub date: jiff::civil::Date,
}

/// The prices that are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    /// The user's come first.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Entry {
    /// The server, as `api.openai.com` or `host:port`.
    server: String,
    model: String,
    #[serde(flatten)]
    price: Price,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    #[serde(default)]
    price: Vec<toml::Table>,
}

const EMBEDDED: &str = include_str!("../../presets/prices.toml");
const MILLION: f64 = 1e6;
/// The largest price file that is read.
const LARGEST_FILE: u64 = 4 << 20;

impl Prices {
    /// The embedded prices, with those of the user's file, if there is one, before them.
    ///
    /// # Errors
    /// A file that cannot be read or understood, by its name.
    pub fn with_user_file(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: String| {
            let message = format!("{}: {error}", path.display());
            Failure::new(FailureKind::InvalidRequest, message)
        };
        let mut entries = match read(path) {
            Ok(Some(text)) => parse(&text).map_err(wrong)?,
            Ok(None) => Vec::new(),
            Err(error) => return Err(wrong(error.to_string())),
        };
        entries.extend(parse(EMBEDDED).expect("the embedded prices are tested"));
        Ok(Self { entries })
    }

    /// The price of a model on a server; a model's dated version costs what the model costs.
    pub fn find(&self, server: &str, model: &str) -> Option<&Price> {
        let undated = undated(model);
        let of = |name: &str| {
            let fits = |entry: &&Entry| entry.server == server && entry.model == name;
            self.entries.iter().find(fits).map(|entry| &entry.price)
        };
        of(model).or_else(|| of(undated))
    }
}

impl Price {
    /// The price in a batch job, where that is known. Tokens from the vendor's cache count as
    /// others: what they cost there is not known.
    pub fn in_a_job(&self) -> Option<Self> {
        let share = self.batch?;
        let (input, output) = (self.input * share, self.output * share);
        Some(Self { input, cached_input: None, output, batch: None, date: self.date })
    }

    /// What these tokens cost, US dollars; absent where a count is not known.
    pub fn cost(&self, usage: Usage, cached_tokens: Option<usize>) -> Option<f64> {
        let prompt = usage.prompt_tokens?;
        let cached = cached_tokens.unwrap_or(0).min(prompt);
        let cached_input = self.cached_input.unwrap_or(self.input);
        let output = usage.output_tokens? as f64;
        let input = (prompt - cached) as f64 * self.input + cached as f64 * cached_input;
        Some((input + output * self.output) / MILLION)
    }
}

fn read(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(file) if file.len() > LARGEST_FILE => {
            Err(std::io::Error::other(format!("more than {LARGEST_FILE} bytes")))
        }
        Ok(_) => std::fs::read_to_string(path).map(Some),
    }
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let file: PriceFile = toml::from_str(text).map_err(|error| error.to_string())?;
    file.price.into_iter().map(entry).collect()
}

/// Reads an entry by hand: `flatten` would let unknown keys pass.
fn entry(mut table: toml::Table) -> Result<Entry, String> {
    let mut text = |name: &str| match table.remove(name) {
        Some(toml::Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(format!("{name} of a price is not a text")),
        None => Err(format!("a price has no {name}")),
    };
    let (server, model) = (text("server")?, text("model")?);
    let wrong = |error: &str| format!("the price of {model} on {server}: {error}");
    let price: Price = table.try_into().map_err(|error: toml::de::Error| wrong(error.message()))?;
    let all = [Some(price.input), price.cached_input, Some(price.output), price.batch];
    if all.iter().flatten().any(|price| !price.is_finite() || *price < 0.0) {
        return Err(wrong("a price is a number that is not below 0"));
    }
    Ok(Entry { server, model, price })
}

/// A model's name without the date of its version: `-2025-04-14` or `-20251001` at its end.
fn undated(model: &str) -> &str {
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let short = model.rsplit_once('-').filter(|(_, date)| digits(date, 8));
    if let Some((name, _)) = short {
        return name;
    }
    let mut parts = model.rsplitn(4, '-');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(day), Some(month), Some(year), Some(name))
            if digits(day, 2) && digits(month, 2) && digits(year, 4) =>
        {
            name
        }
        _ => model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(prompt: usize, output: usize) -> Usage {
        Usage { prompt_tokens: Some(prompt), output_tokens: Some(output) }
    }

    #[test]
    fn every_embedded_price_is_read_and_has_its_date() {
        let all = parse(EMBEDDED).unwrap();
        assert!(all.len() > 10);
        assert!(all.iter().all(|entry| entry.price.date.year() >= 2025));
    }

    #[test]
    fn a_row_costs_its_tokens_and_less_for_those_from_the_cache() {
        let prices = Prices { entries: parse(EMBEDDED).unwrap() };
        let price = prices.find("api.openai.com", "gpt-4.1-mini-2025-04-14").unwrap();
        assert_eq!(price.cost(usage(1_000_000, 1_000_000), None), Some(2.0));
        let cached = price.cost(usage(1_000_000, 0), Some(500_000)).unwrap();
        assert!((cached - 0.25).abs() < 1e-9, "{cached}");
    }

    #[test]
    fn a_batch_job_costs_its_share_and_an_unknown_amount_where_no_share_is_given() {
        let prices = Prices { entries: parse(EMBEDDED).unwrap() };
        let price = prices.find("api.openai.com", "gpt-4.1-mini").unwrap();
        let cost = price.in_a_job().unwrap().cost(usage(1_000_000, 1_000_000), Some(500_000));
        assert_eq!(cost, Some(1.0));
        assert!(prices.entries.iter().all(|entry| entry.price.in_a_job().is_some()));
        assert_eq!(Price { batch: None, ..price.clone() }.in_a_job(), None);
    }

    #[test]
    fn what_is_not_known_costs_an_unknown_amount() {
        let prices = Prices { entries: parse(EMBEDDED).unwrap() };
        assert_eq!(prices.find("127.0.0.1:8080", "gpt-4.1-mini"), None);
        assert_eq!(prices.find("api.openai.com", "gpt-99"), None);
        let price = prices.find("api.openai.com", "gpt-4.1-mini").unwrap();
        assert_eq!(price.cost(Usage { prompt_tokens: Some(1), output_tokens: None }, None), None);
    }

    #[test]
    fn the_users_prices_come_before_the_embedded_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        let own = "[[price]]\nserver = \"api.openai.com\"\nmodel = \"gpt-4.1\"\n\
                   input = 1\noutput = 2\ndate = \"2026-11-01\"\n";
        std::fs::write(&path, own).unwrap();
        let prices = Prices::with_user_file(&path).unwrap();
        assert_eq!(prices.find("api.openai.com", "gpt-4.1").unwrap().output, 2.0);
        assert!(prices.find("api.openai.com", "gpt-4.1-mini").is_some());
        assert_eq!(
            Prices::with_user_file(&folder.path().join("none")).unwrap().entries.len() + 1,
            prices.entries.len()
        );
    }

    #[test]
    fn a_price_file_that_is_wrong_is_named_with_its_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        let head = "[[price]]\nserver = \"s\"\nmodel = \"m\"\n";
        for (rest, why) in [
            ("input = 1\noutput = 2\n", "date"),
            ("input = 1\noutput = 2\ndate = \"2026-11-01\"\nkosten = 1\n", "kosten"),
            ("input = -1\noutput = 2\ndate = \"2026-11-01\"\n", "not below 0"),
            ("input = \"1\"\noutput = 2\ndate = \"2026-11-01\"\n", "on s"),
        ] {
            std::fs::write(&path, format!("{head}{rest}")).unwrap();
            let failure = Prices::with_user_file(&path).unwrap_err();
            let message = failure.message;
            assert!(message.contains("prices.toml") && message.contains(why), "{message}");
        }
    }
}
