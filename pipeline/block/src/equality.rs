//! Whether two OTLP messages say the same.
//! Owns: what "equal" means: attributes in any order, doubles by their bits, an empty value like an absent one.
//! Does not own: what is done about equal messages.

use std::hash::{BuildHasher, Hash, Hasher};

use ahash::RandomState;
use vivace_proto::otlp::common::any_value::Value;
use vivace_proto::otlp::common::{AnyValue, InstrumentationScope, KeyValue};
use vivace_proto::otlp::resource::Resource;
use vivace_proto::otlp::trace::span::{Event, Link};
use vivace_proto::otlp::trace::{Span, Status};

/// Hashes and compares messages. Its hashes are seeded anew each time, so that nobody can prepare collisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Equality {
    hasher: RandomState,
}

impl Equality {
    pub(crate) fn hash_one(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    pub(crate) fn hash_resource(&self, resource: &Resource) -> u64 {
        let attributes = self.hash_attributes(&resource.attributes);
        self.hash_one((attributes, resource.dropped_attributes_count, &resource.entity_refs))
    }

    pub(crate) fn hash_scope(&self, scope: &InstrumentationScope) -> u64 {
        let attributes = self.hash_attributes(&scope.attributes);
        self.hash_one((attributes, scope.dropped_attributes_count, &scope.name, &scope.version))
    }

    /// Covers all of the span but its events' and links' attributes, which tell hardly any spans apart.
    pub(crate) fn hash_span(&self, span: &Span) -> u64 {
        let mut state = self.hasher.build_hasher();
        (&span.trace_id, &span.span_id, &span.parent_span_id, span.kind, span.flags).hash(&mut state);
        (&span.name, &span.trace_state, span.start_time_unix_nano, span.end_time_unix_nano).hash(&mut state);
        (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count).hash(&mut state);
        self.hash_attributes(&span.attributes).hash(&mut state);
        for event in &span.events {
            (event.time_unix_nano, &event.name, event.attributes.len()).hash(&mut state);
        }
        for link in &span.links {
            (&link.trace_id, &link.span_id, link.attributes.len()).hash(&mut state);
        }
        let (code, message) = status_of(span);
        (code, message).hash(&mut state);
        state.finish()
    }

    /// A sum, so that order does not matter.
    fn hash_attributes(&self, attributes: &[KeyValue]) -> u64 {
        attributes.iter().fold(0, |sum: u64, attribute| {
            let value = self.hash_value(attribute.value.as_ref());
            sum.wrapping_add(self.hash_one((&attribute.key, attribute.key_strindex, value)))
        })
    }

    fn hash_value(&self, value: Option<&AnyValue>) -> u64 {
        match value.and_then(|value| value.value.as_ref()) {
            None => 0,
            Some(Value::StringValue(text)) => self.hash_one((1, text)),
            Some(Value::BoolValue(flag)) => self.hash_one((2, flag)),
            Some(Value::IntValue(number)) => self.hash_one((3, number)),
            Some(Value::DoubleValue(number)) => self.hash_one((4, number.to_bits())),
            Some(Value::ArrayValue(array)) => {
                let items = array.values.iter();
                items.fold(5, |hash, item| self.hash_one((hash, self.hash_value(Some(item)))))
            }
            Some(Value::KvlistValue(list)) => self.hash_one((6, self.hash_attributes(&list.values))),
            Some(Value::BytesValue(bytes)) => self.hash_one((7, bytes)),
            Some(Value::StringValueStrindex(index)) => self.hash_one((8, index)),
        }
    }

    pub(crate) fn same_resource(&self, a: &Resource, b: &Resource) -> bool {
        a.dropped_attributes_count == b.dropped_attributes_count
            && a.entity_refs == b.entity_refs
            && self.same_attributes(&a.attributes, &b.attributes)
    }

    pub(crate) fn same_scope(&self, a: &InstrumentationScope, b: &InstrumentationScope) -> bool {
        a.name == b.name
            && a.version == b.version
            && a.dropped_attributes_count == b.dropped_attributes_count
            && self.same_attributes(&a.attributes, &b.attributes)
    }

    pub(crate) fn same_span(&self, a: &Span, b: &Span) -> bool {
        a.span_id == b.span_id
            && a.trace_id == b.trace_id
            && a.parent_span_id == b.parent_span_id
            && a.start_time_unix_nano == b.start_time_unix_nano
            && a.end_time_unix_nano == b.end_time_unix_nano
            && a.kind == b.kind
            && a.flags == b.flags
            && a.name == b.name
            && a.trace_state == b.trace_state
            && status_of(a) == status_of(b)
            && a.dropped_attributes_count == b.dropped_attributes_count
            && a.dropped_events_count == b.dropped_events_count
            && a.dropped_links_count == b.dropped_links_count
            && same_items(&a.events, &b.events, |a, b| self.same_event(a, b))
            && same_items(&a.links, &b.links, |a, b| self.same_link(a, b))
            && self.same_attributes(&a.attributes, &b.attributes)
    }

    fn same_event(&self, a: &Event, b: &Event) -> bool {
        a.time_unix_nano == b.time_unix_nano
            && a.name == b.name
            && a.dropped_attributes_count == b.dropped_attributes_count
            && self.same_attributes(&a.attributes, &b.attributes)
    }

    fn same_link(&self, a: &Link, b: &Link) -> bool {
        a.trace_id == b.trace_id
            && a.span_id == b.span_id
            && a.trace_state == b.trace_state
            && a.flags == b.flags
            && a.dropped_attributes_count == b.dropped_attributes_count
            && self.same_attributes(&a.attributes, &b.attributes)
    }

    pub(crate) fn same_attributes(&self, a: &[KeyValue], b: &[KeyValue]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        // Nearly always they are in the same order.
        if a.iter().zip(b).all(|(a, b)| self.same_attribute(a, b)) {
            return true;
        }
        let (a, b) = (self.sorted(a), self.sorted(b));
        a.iter().zip(b).all(|(a, b)| self.same_attribute(a, b))
    }

    /// By key; where a key comes twice, by anything that equal values share.
    fn sorted<'a>(&self, attributes: &'a [KeyValue]) -> Vec<&'a KeyValue> {
        let mut sorted: Vec<_> = attributes.iter().collect();
        sorted.sort_by(|a, b| {
            let by_value = || self.hash_value(a.value.as_ref()).cmp(&self.hash_value(b.value.as_ref()));
            a.key.cmp(&b.key).then_with(by_value)
        });
        sorted
    }

    fn same_attribute(&self, a: &KeyValue, b: &KeyValue) -> bool {
        a.key == b.key
            && a.key_strindex == b.key_strindex
            && self.same_value(a.value.as_ref(), b.value.as_ref())
    }

    fn same_value(&self, a: Option<&AnyValue>, b: Option<&AnyValue>) -> bool {
        let (a, b) = (a.and_then(|a| a.value.as_ref()), b.and_then(|b| b.value.as_ref()));
        match (a, b) {
            (Some(Value::DoubleValue(a)), Some(Value::DoubleValue(b))) => a.to_bits() == b.to_bits(),
            (Some(Value::ArrayValue(a)), Some(Value::ArrayValue(b))) => {
                same_items(&a.values, &b.values, |a, b| self.same_value(Some(a), Some(b)))
            }
            (Some(Value::KvlistValue(a)), Some(Value::KvlistValue(b))) => {
                self.same_attributes(&a.values, &b.values)
            }
            (a, b) => a == b,
        }
    }
}

fn same_items<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// An absent status means unset, like an empty one.
fn status_of(span: &Span) -> (i32, &str) {
    span.status.as_ref().map_or((0, ""), |Status { code, message }| (*code, message.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vivace_proto::otlp::common::{ArrayValue, KeyValueList};

    fn attribute(key: &str, value: Value) -> KeyValue {
        let value = Some(AnyValue { value: Some(value) });
        KeyValue { key: key.into(), value, key_strindex: 0 }
    }

    fn check(a: &[KeyValue], b: &[KeyValue], equal: bool) {
        let equality = Equality::default();
        assert_eq!(equality.same_attributes(a, b), equal, "{a:?} and {b:?}");
        assert_eq!(equality.hash_attributes(a) == equality.hash_attributes(b), equal, "{a:?} and {b:?}");
    }

    #[test]
    fn order_of_attributes_does_not_matter_order_of_array_items_does() {
        let one = attribute("k", Value::IntValue(1));
        let two = attribute("k", Value::StringValue("1".into()));
        let other = attribute("a", Value::BoolValue(true));
        check(&[one.clone(), two.clone(), other.clone()], &[other.clone(), two.clone(), one.clone()], true);
        check(&[one.clone(), one.clone(), two.clone()], &[one.clone(), two.clone(), two.clone()], false);
        let list = |values| attribute("l", Value::KvlistValue(KeyValueList { values }));
        check(&[list(vec![one.clone(), other.clone()])], &[list(vec![other.clone(), one.clone()])], true);
        let array = |values: Vec<KeyValue>| {
            let values = values.into_iter().filter_map(|item| item.value).collect();
            attribute("l", Value::ArrayValue(ArrayValue { values }))
        };
        check(&[array(vec![one.clone(), two.clone()])], &[array(vec![two, one])], false);
    }

    #[test]
    fn doubles_are_equal_by_their_bits() {
        let double = |number| [attribute("d", Value::DoubleValue(number))];
        check(&double(f64::NAN), &double(f64::NAN), true);
        check(&double(0.0), &double(-0.0), false);
        check(&double(1.0), &[attribute("d", Value::IntValue(1))], false);
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let absent = KeyValue { key: "k".into(), value: None, key_strindex: 0 };
        let empty = KeyValue { value: Some(AnyValue { value: None }), ..absent.clone() };
        check(&[absent], std::slice::from_ref(&empty), true);
        check(&[empty], &[attribute("k", Value::StringValue(String::new()))], false);
    }

    #[test]
    fn an_absent_status_is_an_unset_one() {
        let equality = Equality::default();
        let absent = Span::default();
        let unset = Span { status: Some(Status::default()), ..absent.clone() };
        let failed = Span { status: Some(Status { code: 2, message: String::new() }), ..absent.clone() };
        assert!(equality.same_span(&absent, &unset));
        assert_eq!(equality.hash_span(&absent), equality.hash_span(&unset));
        assert!(!equality.same_span(&absent, &failed));
    }
}
