//! Tables: comma or tab separated values below a header.

use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value};

use super::list::ListBuilder;
use super::record::Record;
use super::{Content, PromptError};

pub(super) fn read(
    text: &str,
    delimiter: u8,
    list: &mut ListBuilder<'_>,
) -> Result<(), PromptError> {
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).trim(Trim::Headers).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| invalid(&error, list))?.clone();
    if header.is_empty() {
        return Ok(());
    }
    let columns = Columns::find(&header, list).map_err(|reason| list.error(1, reason))?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| invalid(&error, list))? {
        let line = record.position().map_or(0, |place| place.line() as usize);
        let row = columns.record(&header, &record, list.has_template());
        list.push(line, row)?;
    }
    Ok(())
}

/// Where in a record the fields are that mean something to us.
struct Columns {
    prompt: Option<usize>,
    id: Option<usize>,
    unique: bool,
    expect: Option<usize>,
}

impl Columns {
    fn find(header: &StringRecord, list: &ListBuilder<'_>) -> Result<Self, String> {
        let column = |name: &str| header.iter().position(|header| header == name);
        let names = || {
            let names = header.iter().map(|name| format!("\"{name}\""));
            names.collect::<Vec<_>>().join(", ")
        };
        let prompt = match list.column() {
            Some(name) => Some(column(name).ok_or_else(|| {
                format!("there is no column \"{name}\"; its columns are {}", names())
            })?),
            None => {
                column("prompt").or_else(|| column("text")).or((header.len() == 1).then_some(0))
            }
        };
        if prompt.is_none() && !list.has_template() {
            let names = names();
            return Err(format!(
                "no column is called \"prompt\" or \"text\": choose one of {names} with --column"
            ));
        }
        if let Some(name) = prompt.and_then(|place| header.get(place)) {
            if header.iter().filter(|header| *header == name).count() > 1 {
                return Err(format!("two columns are called \"{name}\": rename one"));
            }
        }
        let custom_id = column("custom_id");
        Ok(Self {
            prompt,
            id: custom_id.or_else(|| column("id")),
            unique: custom_id.is_some(),
            expect: column("expect"),
        })
    }

    fn record(&self, header: &StringRecord, row: &StringRecord, all_fields: bool) -> Record {
        let cell = |place: Option<usize>| row.get(place?).map(str::to_owned);
        let filled = |place| cell(place).filter(|text| !text.is_empty());
        let mut fields = Map::new();
        if all_fields {
            let cells = header.iter().zip(row);
            fields.extend(cells.map(|(name, text)| (name.to_owned(), Value::from(text))));
        }
        let id = filled(self.id);
        Record {
            content: cell(self.prompt).map(Content::Text),
            unique: self.unique && id.is_some(),
            id,
            expect: filled(self.expect),
            fields,
        }
    }
}

fn invalid(error: &csv::Error, list: &ListBuilder<'_>) -> PromptError {
    let line = error.position().map_or(1, |place| place.line() as usize);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "the record has {len} fields, the header has {expected_len}: put fields that contain \
             the separator in quotes"
        ),
        _ => error.to_string(),
    };
    list.error(line, reason)
}
