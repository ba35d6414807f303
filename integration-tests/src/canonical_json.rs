use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use serde_json::{Map, Value};

use crate::canonical::{Canonical, canonical};

/// The plain form of a trace in Tempo's JSON, which is protobuf's JSON of early days: ids and bytes in base64, 64-bit
/// numbers as strings, enums by name, nothing empty. A key that Tempo does not have is an error, as in its clients.
///
/// # Errors
/// When it is not in that form.
pub fn canonical_from_json(resource_spans: &Value) -> anyhow::Result<Canonical> {
    let groups = resource_spans.as_array().context("the resource spans are no array")?;
    let resource_spans = groups.iter().map(group).collect::<Result<_, _>>()?;
    Ok(canonical(&TracesData { resource_spans }))
}

/// The fields of one JSON object; each is taken once, and what is left at the end is an error.
struct Fields {
    what: &'static str,
    left: Map<String, Value>,
}

impl Fields {
    fn new(what: &'static str, value: &Value) -> anyhow::Result<Self> {
        let left = value.as_object().with_context(|| format!("{what} is no object but {value}"))?.clone();
        Ok(Self { what, left })
    }

    fn end(self) -> anyhow::Result<()> {
        ensure!(self.left.is_empty(), "unknown in {}: {:?}", self.what, self.left);
        Ok(())
    }

    fn text(&mut self, key: &str) -> anyhow::Result<String> {
        match self.left.remove(key) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => bail!("{key} of {} is no string but {other}", self.what),
        }
    }

    fn bytes(&mut self, key: &str) -> anyhow::Result<Vec<u8>> {
        let text = self.text(key)?;
        STANDARD.decode(&text).with_context(|| format!("{key} of {} is no base64 but {text}", self.what))
    }

    fn u32(&mut self, key: &str) -> anyhow::Result<u32> {
        match self.left.remove(key) {
            None => Ok(0),
            Some(number) => {
                let small = number.as_u64().and_then(|number| u32::try_from(number).ok());
                small.with_context(|| format!("{key} of {} is no 32-bit number but {number}", self.what))
            }
        }
    }

    fn u64(&mut self, key: &str) -> anyhow::Result<u64> {
        let text = self.text(key)?;
        if text.is_empty() { Ok(0) } else { Ok(text.parse()?) }
    }

    fn list<T>(&mut self, key: &str, read: fn(&Value) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
        match self.left.remove(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(read).collect(),
            Some(other) => bail!("{key} of {} is no array but {other}", self.what),
        }
    }

    fn message<T>(&mut self, key: &str, read: fn(&Value) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        self.left.remove(key).as_ref().map(read).transpose()
    }
}

fn group(value: &Value) -> anyhow::Result<ResourceSpans> {
    let mut fields = Fields::new("resource spans", value)?;
    let group = ResourceSpans {
        resource: fields.message("resource", resource)?,
        scope_spans: fields.list("scopeSpans", scope_spans)?,
        schema_url: fields.text("schemaUrl")?,
    };
    fields.end()?;
    Ok(group)
}

fn resource(value: &Value) -> anyhow::Result<Resource> {
    let mut fields = Fields::new("resource", value)?;
    let resource = Resource {
        attributes: fields.list("attributes", key_value)?,
        dropped_attributes_count: fields.u32("droppedAttributesCount")?,
        ..Resource::default()
    };
    fields.end()?;
    Ok(resource)
}

fn scope_spans(value: &Value) -> anyhow::Result<ScopeSpans> {
    let mut fields = Fields::new("scope spans", value)?;
    let scoped = ScopeSpans {
        scope: fields.message("scope", scope)?,
        spans: fields.list("spans", span)?,
        schema_url: fields.text("schemaUrl")?,
    };
    fields.end()?;
    Ok(scoped)
}

fn scope(value: &Value) -> anyhow::Result<InstrumentationScope> {
    let mut fields = Fields::new("scope", value)?;
    let scope = InstrumentationScope {
        name: fields.text("name")?,
        version: fields.text("version")?,
        attributes: fields.list("attributes", key_value)?,
        dropped_attributes_count: fields.u32("droppedAttributesCount")?,
    };
    fields.end()?;
    Ok(scope)
}

fn span(value: &Value) -> anyhow::Result<Span> {
    let mut fields = Fields::new("span", value)?;
    let kind = fields.text("kind")?;
    let kind = if kind.is_empty() { Some(SpanKind::Unspecified) } else { SpanKind::from_str_name(&kind) };
    let span = Span {
        trace_id: fields.bytes("traceId")?,
        span_id: fields.bytes("spanId")?,
        trace_state: fields.text("traceState")?,
        parent_span_id: fields.bytes("parentSpanId")?,
        flags: fields.u32("flags")?,
        name: fields.text("name")?,
        kind: kind.context("unknown kind of span")? as i32,
        start_time_unix_nano: fields.u64("startTimeUnixNano")?,
        end_time_unix_nano: fields.u64("endTimeUnixNano")?,
        attributes: fields.list("attributes", key_value)?,
        dropped_attributes_count: fields.u32("droppedAttributesCount")?,
        events: fields.list("events", event)?,
        dropped_events_count: fields.u32("droppedEventsCount")?,
        links: fields.list("links", link)?,
        dropped_links_count: fields.u32("droppedLinksCount")?,
        status: fields.message("status", status)?,
    };
    fields.end()?;
    Ok(span)
}

fn status(value: &Value) -> anyhow::Result<Status> {
    let mut fields = Fields::new("status", value)?;
    let code = fields.text("code")?;
    let code = if code.is_empty() { Some(StatusCode::Unset) } else { StatusCode::from_str_name(&code) };
    let code = code.context("unknown status code")? as i32;
    let status = Status { message: fields.text("message")?, code };
    fields.end()?;
    Ok(status)
}

fn event(value: &Value) -> anyhow::Result<Event> {
    let mut fields = Fields::new("event", value)?;
    let event = Event {
        time_unix_nano: fields.u64("timeUnixNano")?,
        name: fields.text("name")?,
        attributes: fields.list("attributes", key_value)?,
        dropped_attributes_count: fields.u32("droppedAttributesCount")?,
    };
    fields.end()?;
    Ok(event)
}

fn link(value: &Value) -> anyhow::Result<Link> {
    let mut fields = Fields::new("link", value)?;
    let link = Link {
        trace_id: fields.bytes("traceId")?,
        span_id: fields.bytes("spanId")?,
        trace_state: fields.text("traceState")?,
        attributes: fields.list("attributes", key_value)?,
        dropped_attributes_count: fields.u32("droppedAttributesCount")?,
        flags: fields.u32("flags")?,
    };
    fields.end()?;
    Ok(link)
}

fn key_value(value: &Value) -> anyhow::Result<KeyValue> {
    let mut fields = Fields::new("attribute", value)?;
    let pair = KeyValue {
        key: fields.text("key")?,
        value: fields.message("value", any_value)?,
        ..KeyValue::default()
    };
    fields.end()?;
    Ok(pair)
}

fn any_value(value: &Value) -> anyhow::Result<AnyValue> {
    let mut fields = Fields::new("value", value)?;
    let Some(kind) = fields.left.keys().next().cloned() else {
        return Ok(AnyValue::default());
    };
    let value = match kind.as_str() {
        "stringValue" => Any::StringValue(fields.text(&kind)?),
        "intValue" => Any::IntValue(fields.text(&kind)?.parse().context("intValue")?),
        "boolValue" => {
            let flag = fields.left.remove(&kind);
            Any::BoolValue(flag.as_ref().and_then(Value::as_bool).context("boolValue is no boolean")?)
        }
        "doubleValue" => Any::DoubleValue(double(&fields.left.remove(&kind).unwrap_or_default())?),
        "bytesValue" => Any::BytesValue(fields.bytes(&kind)?),
        "arrayValue" => Any::ArrayValue(fields.message(&kind, array)?.context("arrayValue has no value")?),
        "kvlistValue" => Any::KvlistValue(fields.message(&kind, map)?.context("kvlistValue has no value")?),
        other => bail!("unknown kind of value {other}"),
    };
    fields.end()?;
    Ok(AnyValue { value: Some(value) })
}

fn double(value: &Value) -> anyhow::Result<f64> {
    match value {
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            other => bail!("doubleValue is {other:?}"),
        },
        other => other.as_f64().with_context(|| format!("doubleValue is {other}")),
    }
}

fn array(value: &Value) -> anyhow::Result<ArrayValue> {
    let mut fields = Fields::new("array", value)?;
    let array = ArrayValue { values: fields.list("values", any_value)? };
    fields.end()?;
    Ok(array)
}

fn map(value: &Value) -> anyhow::Result<KeyValueList> {
    let mut fields = Fields::new("map", value)?;
    let map = KeyValueList { values: fields.list("values", key_value)? };
    fields.end()?;
    Ok(map)
}
