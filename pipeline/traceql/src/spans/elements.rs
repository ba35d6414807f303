//! What is asked of events and links: their own fields and their attributes.

use arrow::array::{AsArray, StringArray, TimestampNanosecondArray};
use vivace_model::schema;

use super::attributes::Items;
use super::columns::Elements;
use super::{Lane, Spans, Value, Values};
use crate::EvalError;

impl<'a> Spans<'a> {
    /// `event:name`.
    pub(super) fn event_names(&self) -> Result<Values<'a>, EvalError> {
        let Some(events) = self.list(schema::EVENTS)? else {
            return Ok(Values::none());
        };
        let names: Option<&StringArray> = events.field("name", |column| column.as_string_opt::<i32>())?;
        Ok(names
            .map_or_else(Values::none, |names| each(events, |event| Some(Value::Text(names.value(event))))))
    }

    /// `event:timeSinceStart`: how long after the start of its span each event was.
    pub(super) fn event_times(&self) -> Result<Values<'a>, EvalError> {
        let (Some(events), Some(starts)) = (self.list(schema::EVENTS)?, self.starts()?) else {
            return Ok(Values::none());
        };
        let times: Option<&TimestampNanosecondArray> =
            events.field("time", |column| column.as_primitive_opt())?;
        let Some(times) = times else {
            return Ok(Values::none());
        };
        let mut values = Vec::new();
        let mut rows = events.rows();
        for event in events.range() {
            if let Some(row) = rows.of(event) {
                let since = times.value(event).wrapping_sub(starts.value(row as usize));
                values.push((row, Value::Duration(since)));
            }
        }
        Ok(Values::sparse(values))
    }

    /// `link:traceID`, `link:spanID`.
    pub(super) fn link_ids(&self, field: &str) -> Result<Values<'a>, EvalError> {
        let Some(links) = self.list(schema::LINKS)? else {
            return Ok(Values::none());
        };
        let ids = links.binaries(field)?;
        Ok(ids.map_or_else(Values::none, |ids| {
            each(links, |link| Some(ids.value(link)).filter(|id| !id.is_empty()).map(Value::Id))
        }))
    }

    /// `event.key`, `link.key`, by the column of the events or links.
    pub(super) fn nested_attributes(&self, column: &str, key: &str) -> Result<Values<'a>, EvalError> {
        let Some(elements) = self.list(column)? else {
            return Ok(Values::none());
        };
        let Some(attributes) = elements.list("attributes")? else {
            return Ok(Values::none());
        };
        let Some((items, found)) = Items::new(attributes, key)? else {
            return Ok(Values::none());
        };
        // So far by number of the event or link.
        let mut rows = elements.rows();
        let values = items.values(&found)?.into_iter();
        Ok(Values::sparse(values.filter_map(|(at, value)| Some((rows.of(at as usize)?, value))).collect()))
    }
}

fn each<'a>(elements: Elements<'a>, value: impl Fn(usize) -> Option<Value<'a>>) -> Values<'a> {
    let mut rows = elements.rows();
    let pairs = elements.range().filter_map(|element| Some((rows.of(element)?, value(element)?)));
    Values::sparse(pairs.collect())
}

impl<'a> Values<'a> {
    /// No row has any.
    pub(super) const fn none() -> Self {
        Self { lanes: Vec::new() }
    }

    pub(super) fn one(lane: Lane<'a>) -> Self {
        Self { lanes: vec![lane] }
    }

    pub(super) fn sparse(values: Vec<(u32, Value<'a>)>) -> Self {
        if values.is_empty() { Self::none() } else { Self::one(Lane::Sparse(values)) }
    }
}
