//! The columns of a span, in memory and in a block: one row per span.
//! Owns: names, order and types of the fixed columns, and how attributes map to columns.
//! Does not own: which attributes are promoted (see `columns`), how columns are encoded in the file (see `write`).
//!
//! Fixed columns come first, in the order of [`fixed_fields`]. After them come the promoted attributes, sorted by
//! name: `resource.<key>`, `span.<key>`, `instrumentation.<key>` (TraceQL's names of the scopes), each nullable and of
//! one type: string (dictionary), int64, double or bool. A value that its column can't hold, because the key is rare, the
//! value has another type, is an array, a map, bytes or empty, is larger than [`LARGE_VALUE_BYTES`], or the key came
//! twice, is an item of the overflow list of its scope. There a large value stands in a leaf of its own, `large`, which
//! nothing reads but who wants all.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, TimeUnit};

/// A value of more bytes than this is kept apart, so that it does not swell what other queries read.
pub const LARGE_VALUE_BYTES: usize = 4096;

/// Member of an attribute that has its large value. In memory its type is a view: rows that have the same value share its
/// bytes. In files it is a plain column of bytes.
pub const LARGE: &str = "large";

/// 16 bytes, the sort key of a block.
pub const TRACE_ID: &str = "trace_id";
/// 8 bytes.
pub const SPAN_ID: &str = "span_id";
/// 8 bytes; null when the span has no parent.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
/// OTLP's `start_time_unix_nano`, UTC without a zone (which DuckDB's date functions refuse). Second sort key.
pub const START_TIME: &str = "start_time";
/// `end_time_unix_nano - start_time_unix_nano`, wrapping, so that even an end before the start comes back as it was.
pub const DURATION_NANOS: &str = "duration_nanos";
/// Span name.
pub const NAME: &str = "name";
/// OTLP's number of the kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
pub const KIND: &str = "kind";
/// OTLP's number of the status: 0 unset, 1 ok, 2 error.
pub const STATUS_CODE: &str = "status_code";
/// Null when empty.
pub const STATUS_MESSAGE: &str = "status_message";
/// W3C trace state; null when empty.
pub const TRACE_STATE: &str = "trace_state";
/// OTLP's span flags.
pub const FLAGS: &str = "flags";
/// OTLP's `dropped_attributes_count` of the span.
pub const DROPPED_ATTRIBUTES_COUNT: &str = "dropped_attributes_count";
/// OTLP's `dropped_events_count` of the span.
pub const DROPPED_EVENTS_COUNT: &str = "dropped_events_count";
/// OTLP's `dropped_links_count` of the span.
pub const DROPPED_LINKS_COUNT: &str = "dropped_links_count";
/// Nested-set number on the way down: a span's descendants (in this block) have a left between its left and right.
pub const NESTED_SET_LEFT: &str = "nested_set_left";
/// Nested-set number on the way up.
pub const NESTED_SET_RIGHT: &str = "nested_set_right";
/// `nested_set_left` of the parent; -1 for a span without a parent, 0 for one whose parent is not in this block.
pub const NESTED_SET_PARENT: &str = "nested_set_parent";
/// `service.name` of the trace's root span, as far as this block knows; else null.
pub const ROOT_SERVICE_NAME: &str = "root_service_name";
/// Name of the trace's root span, as far as this block knows; else null.
pub const ROOT_SPAN_NAME: &str = "root_span_name";
/// Name of the instrumentation scope; null when empty.
pub const SCOPE_NAME: &str = "scope_name";
/// Version of the instrumentation scope; null when empty.
pub const SCOPE_VERSION: &str = "scope_version";
/// Schema URL of the scope's spans; null when empty.
pub const SCOPE_SCHEMA_URL: &str = "scope_schema_url";
/// OTLP's `dropped_attributes_count` of the scope.
pub const SCOPE_DROPPED_ATTRIBUTES_COUNT: &str = "scope_dropped_attributes_count";
/// Schema URL of the resource; null when empty.
pub const RESOURCE_SCHEMA_URL: &str = "resource_schema_url";
/// OTLP's `dropped_attributes_count` of the resource.
pub const RESOURCE_DROPPED_ATTRIBUTES_COUNT: &str = "resource_dropped_attributes_count";
/// Overflow of resource attributes: list of [`attribute_fields`]; null when there is none.
pub const RESOURCE_ATTRIBUTES: &str = "resource_attributes";
/// Overflow of scope attributes.
pub const INSTRUMENTATION_ATTRIBUTES: &str = "instrumentation_attributes";
/// Overflow of span attributes.
pub const SPAN_ATTRIBUTES: &str = "span_attributes";
/// List of [`event_fields`], in OTLP's order; null when there is none.
pub const EVENTS: &str = "events";
/// List of [`link_fields`], in OTLP's order; null when there is none.
pub const LINKS: &str = "links";

/// What a scope's attributes hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AttributeScope {
    /// The resource that sent the span.
    Resource = 0,
    /// The instrumentation scope.
    Instrumentation = 1,
    /// The span itself.
    Span = 2,
}

impl AttributeScope {
    /// All of them, by number.
    pub const ALL: [Self; 3] = [Self::Resource, Self::Instrumentation, Self::Span];

    /// Prefix of promoted columns, with the dot.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Resource => "resource.",
            Self::Instrumentation => "instrumentation.",
            Self::Span => "span.",
        }
    }

    /// Name of the overflow column.
    #[must_use]
    pub const fn overflow(self) -> &'static str {
        match self {
            Self::Resource => RESOURCE_ATTRIBUTES,
            Self::Instrumentation => INSTRUMENTATION_ATTRIBUTES,
            Self::Span => SPAN_ATTRIBUTES,
        }
    }

    /// Name of the column of a promoted attribute.
    #[must_use]
    pub fn column(self, key: &str) -> String {
        format!("{}{key}", self.prefix())
    }

    /// Scope and key of a promoted column's name; none for a fixed column.
    #[must_use]
    pub fn parse_column(name: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|scope| Some((scope, name.strip_prefix(scope.prefix())?)))
    }
}

/// Type of an overflow item's value, in its `type` field: the number of the field of OTLP's `AnyValue`.
pub mod value_type {
    /// No value at all.
    pub const EMPTY: i8 = 0;
    /// In `string`.
    pub const STRING: i8 = 1;
    /// In `bool`.
    pub const BOOL: i8 = 2;
    /// In `int`.
    pub const INT: i8 = 3;
    /// In `double`.
    pub const DOUBLE: i8 = 4;
    /// In `bytes`, as the protobuf of OTLP's `ArrayValue`: the one form that keeps every nested type exactly.
    pub const ARRAY: i8 = 5;
    /// In `bytes`, as the protobuf of OTLP's `KeyValueList`.
    pub const KVLIST: i8 = 6;
    /// In `bytes`, as it is.
    pub const BYTES: i8 = 7;
    /// Not one value but several attributes, in `large`, as the protobuf of OTLP's `KeyValueList`: those of a resource or
    /// scope that would take more than [`super::LARGE_VALUE_BYTES`] in each row. The key is [`super::FOLDED_KEY`].
    pub const FOLDED: i8 = 8;
}

/// Key of an item of type [`value_type::FOLDED`].
pub const FOLDED_KEY: &str = "vivace.folded";

/// The type of strings that repeat.
#[must_use]
pub fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

fn list_of(fields: Fields) -> DataType {
    DataType::List(item(fields))
}

/// The element field of a list of structs, named as Parquet wants it.
#[must_use]
pub fn item(fields: Fields) -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(fields), false))
}

/// An attribute in an overflow list, an event or a link. `type` (see [`value_type`]) says which of the others is filled;
/// a string, bytes, array or map of more than [`LARGE_VALUE_BYTES`] has its bytes in `large` instead.
#[must_use]
pub fn attribute_fields() -> Fields {
    vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("type", DataType::Int8, false),
        Field::new("string", DataType::Utf8, true),
        Field::new("int", DataType::Int64, true),
        Field::new("double", DataType::Float64, true),
        Field::new("bool", DataType::Boolean, true),
        Field::new("bytes", DataType::Binary, true),
        Field::new(LARGE, DataType::BinaryView, true),
    ]
    .into()
}

/// An event of a span.
#[must_use]
pub fn event_fields() -> Fields {
    vec![
        Field::new("time", TIMESTAMP, false),
        Field::new("name", DataType::Utf8, false),
        Field::new(DROPPED_ATTRIBUTES_COUNT, DataType::UInt32, false),
        Field::new("attributes", list_of(attribute_fields()), true),
    ]
    .into()
}

/// A link of a span. Its ids are kept as they came, of any length.
#[must_use]
pub fn link_fields() -> Fields {
    vec![
        Field::new(TRACE_ID, DataType::Binary, false),
        Field::new(SPAN_ID, DataType::Binary, false),
        Field::new(TRACE_STATE, DataType::Utf8, true),
        Field::new(FLAGS, DataType::UInt32, false),
        Field::new(DROPPED_ATTRIBUTES_COUNT, DataType::UInt32, false),
        Field::new("attributes", list_of(attribute_fields()), true),
    ]
    .into()
}

/// The columns that every block has, in their order.
#[must_use]
pub fn fixed_fields() -> Vec<Field> {
    vec![
        Field::new(TRACE_ID, DataType::FixedSizeBinary(16), false),
        Field::new(SPAN_ID, DataType::FixedSizeBinary(8), false),
        Field::new(PARENT_SPAN_ID, DataType::FixedSizeBinary(8), true),
        Field::new(START_TIME, TIMESTAMP, false),
        Field::new(DURATION_NANOS, DataType::Int64, false),
        Field::new(NAME, dictionary(), false),
        Field::new(KIND, DataType::Int32, false),
        Field::new(STATUS_CODE, DataType::Int32, false),
        Field::new(STATUS_MESSAGE, dictionary(), true),
        Field::new(TRACE_STATE, dictionary(), true),
        Field::new(FLAGS, DataType::UInt32, false),
        Field::new(DROPPED_ATTRIBUTES_COUNT, DataType::UInt32, false),
        Field::new(DROPPED_EVENTS_COUNT, DataType::UInt32, false),
        Field::new(DROPPED_LINKS_COUNT, DataType::UInt32, false),
        Field::new(NESTED_SET_LEFT, DataType::Int32, false),
        Field::new(NESTED_SET_RIGHT, DataType::Int32, false),
        Field::new(NESTED_SET_PARENT, DataType::Int32, false),
        Field::new(ROOT_SERVICE_NAME, dictionary(), true),
        Field::new(ROOT_SPAN_NAME, dictionary(), true),
        Field::new(SCOPE_NAME, dictionary(), true),
        Field::new(SCOPE_VERSION, dictionary(), true),
        Field::new(SCOPE_SCHEMA_URL, dictionary(), true),
        Field::new(SCOPE_DROPPED_ATTRIBUTES_COUNT, DataType::UInt32, false),
        Field::new(RESOURCE_SCHEMA_URL, dictionary(), true),
        Field::new(RESOURCE_DROPPED_ATTRIBUTES_COUNT, DataType::UInt32, false),
        Field::new(RESOURCE_ATTRIBUTES, list_of(attribute_fields()), true),
        Field::new(INSTRUMENTATION_ATTRIBUTES, list_of(attribute_fields()), true),
        Field::new(SPAN_ATTRIBUTES, list_of(attribute_fields()), true),
        Field::new(EVENTS, list_of(event_fields()), true),
        Field::new(LINKS, list_of(link_fields()), true),
    ]
}
