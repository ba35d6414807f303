//! The fields of OTLP's messages as JSON names them.
//! Source: opentelemetry-proto 1.x, `trace.proto`, `common.proto`, `resource.proto`.

/// A message and its fields.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

/// A field of a message.
pub(super) struct Field {
    /// In lowerCamelCase.
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) shape: Shape,
    pub(super) repeated: bool,
}

/// What a field holds, in protobuf and in JSON.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// Bytes, in hexadecimal digits.
    Hex,
    /// Bytes.
    Base64,
    Bool,
    Signed64,
    Unsigned32,
    Fixed32,
    Fixed64,
    Double,
    /// Names of the values 0, 1, ….
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

use Shape::{Base64, Bool, Double, Enum, Fixed32, Fixed64, Hex, Signed64, Text, Unsigned32};

impl Field {
    /// Whether `name` is the field's, in lowerCamelCase or as in the .proto file.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let mut given = name.bytes();
        self.name.bytes().all(|expected| match given.next() {
            Some(b'_') if expected.is_ascii_uppercase() => {
                given.next() == Some(expected.to_ascii_lowercase())
            }
            Some(byte) => byte == expected,
            None => false,
        }) && given.next().is_none()
    }
}

const fn one(number: u32, name: &'static str, shape: Shape) -> Field {
    Field { name, number, shape, repeated: false }
}

const fn many(number: u32, name: &'static str, shape: Shape) -> Field {
    Field { name, number, shape, repeated: true }
}

pub(super) static REQUEST: Message =
    Message { fields: &[many(1, "resourceSpans", Shape::Message(&RESOURCE_SPANS))] };

static RESOURCE_SPANS: Message = Message {
    fields: &[
        one(1, "resource", Shape::Message(&RESOURCE)),
        many(2, "scopeSpans", Shape::Message(&SCOPE_SPANS)),
        one(3, "schemaUrl", Text),
    ],
};

static RESOURCE: Message = Message {
    fields: &[
        many(1, "attributes", Shape::Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Unsigned32),
        many(3, "entityRefs", Shape::Message(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Message = Message {
    fields: &[
        one(1, "schemaUrl", Text),
        one(2, "type", Text),
        many(3, "idKeys", Text),
        many(4, "descriptionKeys", Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        one(1, "scope", Shape::Message(&SCOPE)),
        many(2, "spans", Shape::Message(&SPAN)),
        one(3, "schemaUrl", Text),
    ],
};

static SCOPE: Message = Message {
    fields: &[
        one(1, "name", Text),
        one(2, "version", Text),
        many(3, "attributes", Shape::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Unsigned32),
    ],
};

static SPAN: Message = Message {
    fields: &[
        one(1, "traceId", Hex),
        one(2, "spanId", Hex),
        one(3, "traceState", Text),
        one(4, "parentSpanId", Hex),
        one(5, "name", Text),
        one(6, "kind", Enum(SPAN_KINDS)),
        one(7, "startTimeUnixNano", Fixed64),
        one(8, "endTimeUnixNano", Fixed64),
        many(9, "attributes", Shape::Message(&KEY_VALUE)),
        one(10, "droppedAttributesCount", Unsigned32),
        many(11, "events", Shape::Message(&EVENT)),
        one(12, "droppedEventsCount", Unsigned32),
        many(13, "links", Shape::Message(&LINK)),
        one(14, "droppedLinksCount", Unsigned32),
        one(15, "status", Shape::Message(&STATUS)),
        one(16, "flags", Fixed32),
    ],
};

const SPAN_KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

static EVENT: Message = Message {
    fields: &[
        one(1, "timeUnixNano", Fixed64),
        one(2, "name", Text),
        many(3, "attributes", Shape::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Unsigned32),
    ],
};

static LINK: Message = Message {
    fields: &[
        one(1, "traceId", Hex),
        one(2, "spanId", Hex),
        one(3, "traceState", Text),
        many(4, "attributes", Shape::Message(&KEY_VALUE)),
        one(5, "droppedAttributesCount", Unsigned32),
        one(6, "flags", Fixed32),
    ],
};

static STATUS: Message = Message { fields: &[one(2, "message", Text), one(3, "code", Enum(STATUS_CODES))] };

const STATUS_CODES: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

static KEY_VALUE: Message =
    Message { fields: &[one(1, "key", Text), one(2, "value", Shape::Message(&ANY_VALUE))] };

static ANY_VALUE: Message = Message {
    fields: &[
        one(1, "stringValue", Text),
        one(2, "boolValue", Bool),
        one(3, "intValue", Signed64),
        one(4, "doubleValue", Double),
        one(5, "arrayValue", Shape::Message(&ARRAY_VALUE)),
        one(6, "kvlistValue", Shape::Message(&KEY_VALUE_LIST)),
        one(7, "bytesValue", Base64),
    ],
};

static ARRAY_VALUE: Message = Message { fields: &[many(1, "values", Shape::Message(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message = Message { fields: &[many(1, "values", Shape::Message(&KEY_VALUE))] };
