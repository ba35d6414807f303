//! Attributes of a resource or scope that are too much to stand in each of its rows: they become one large value, which
//! rows share, so that a megabyte of them costs its size once, not once a span.
//! Owns: when that is, folding them, and listing them again for whoever asks for some of them.
//! Does not own: columns of attributes, which rows share anyway.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray};
use arrow::buffer::Buffer;
use arrow::compute::interleave;
use arrow::datatypes::Int8Type;
use arrow::error::ArrowError;
use hashbrown::HashMap;
use vivace_model::scan::Projection;
use vivace_model::wire::Fields;

use super::items::{ItemBuilder, item_bytes};
use super::nested::list;
use super::origins::OwnedAttribute;
use super::value::{AnyValue, key_value, put_key_value};
use crate::schema::{AttributeScope, FOLDED_KEY, LARGE, LARGE_VALUE_BYTES, attribute_fields, value_type};

/// Of folded attributes that nobody named this many are listed, where all of a scope are asked for.
pub(crate) const UNNAMED_MAX: usize = 64;

/// Attributes of an origin as they stand in each of its rows.
#[derive(Debug)]
pub(crate) struct Folded<'a> {
    listed: Vec<&'a OwnedAttribute>,
    /// An OTLP `KeyValueList`.
    folded: Option<Buffer>,
}

impl<'a> Folded<'a> {
    /// Folds what is not large already, if that is too much for each row.
    pub(crate) fn new(attributes: impl Iterator<Item = &'a OwnedAttribute>) -> Self {
        let mut listed: Vec<_> = attributes.collect();
        let bytes = |attribute: &&OwnedAttribute| item_bytes(&attribute.key, &attribute.value.as_any());
        if listed.iter().map(bytes).sum::<usize>() <= LARGE_VALUE_BYTES {
            return Self { listed, folded: None };
        }
        let mut message = Vec::new();
        listed.retain(|attribute| {
            if attribute.value.large().is_none() {
                put_key_value(&mut message, &attribute.key, &attribute.value.as_any());
            }
            attribute.value.large().is_some()
        });
        Self { listed, folded: (!message.is_empty()).then(|| message.into()) }
    }

    /// Those that a projection names, and of the others, if it asks for all, as many as are listed of folded ones.
    pub(crate) fn asked(
        attributes: &'a [OwnedAttribute],
        scope: AttributeScope,
        projection: &Projection,
        keep: impl Fn(&OwnedAttribute) -> bool,
    ) -> Self {
        let mut asked = Asked::new(scope, projection);
        let listed = attributes.iter().filter(|attribute| keep(attribute) && asked.takes(&attribute.key));
        Self { listed: listed.collect(), folded: None }
    }

    /// Items in each row.
    pub(crate) const fn len(&self) -> usize {
        self.listed.len() + self.folded.is_some() as usize
    }

    /// Bytes in each row, but for large values.
    pub(crate) fn row_bytes(&self) -> usize {
        let listed = self.listed.iter();
        let listed = listed.map(|attribute| item_bytes(&attribute.key, &attribute.value.as_any()));
        listed.sum::<usize>() + usize::from(self.folded.is_some()) * item_bytes(FOLDED_KEY, &AnyValue::Empty)
    }

    pub(crate) fn append_to(&self, items: &mut ItemBuilder) {
        for OwnedAttribute { key, value, .. } in &self.listed {
            items.append(key, value.as_any(), value.large());
        }
        if let Some(folded) = &self.folded {
            items.append_folded(folded);
        }
    }
}

/// What a projection asks for of one origin.
struct Asked<'a> {
    scope: AttributeScope,
    projection: &'a Projection,
    unnamed: usize,
}

impl<'a> Asked<'a> {
    const fn new(scope: AttributeScope, projection: &'a Projection) -> Self {
        Self { scope, projection, unnamed: 0 }
    }

    fn takes(&mut self, key: &str) -> bool {
        if self.projection.names(self.scope, key) {
            return true;
        }
        let takes = self.projection.scopes.contains(&self.scope) && self.unnamed < UNNAMED_MAX;
        self.unnamed += usize::from(takes);
        takes
    }
}

/// Whether an item of a list stands for several attributes.
pub(crate) fn any_folded(lists: &ArrayRef) -> bool {
    let kinds = lists.as_list_opt::<i32>().and_then(|lists| lists.values().as_struct_opt());
    let kinds = kinds.and_then(|items| items.column_by_name("type")?.as_primitive_opt::<Int8Type>());
    kinds.is_some_and(|kinds| kinds.values().contains(&value_type::FOLDED))
}

/// The lists of a scope with those attributes in place of folded ones that the projection asks for.
///
/// # Errors
/// [`ArrowError`] if a folded item is damaged.
pub(crate) fn unfold(
    lists: &ArrayRef,
    scope: AttributeScope,
    projection: &Projection,
) -> Result<ArrayRef, ArrowError> {
    if !any_folded(lists) {
        return Ok(Arc::clone(lists));
    }
    let damaged = || ArrowError::InvalidArgumentError("folded attributes are damaged".into());
    let own = lists.as_list::<i32>();
    let items = own.values().as_struct();
    let kinds = items.column_by_name("type").and_then(|kinds| kinds.as_primitive_opt::<Int8Type>());
    let large = items.column_by_name(LARGE).and_then(|large| large.as_binary_view_opt());
    let (kinds, large) = kinds.zip(large).ok_or_else(damaged)?;
    let mut unfolded =
        Unfolded { large, scope, projection, items: ItemBuilder::default(), known: HashMap::new() };
    let (mut places, mut lengths, mut added) = (Vec::new(), Vec::with_capacity(own.len()), 0);
    for row in 0..own.len() {
        let before = places.len();
        let offsets = own.value_offsets();
        let range = if own.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
        for item in range.start as usize..range.end as usize {
            if kinds.value(item) == value_type::FOLDED {
                let found = unfolded.of(item, &mut added).ok_or_else(damaged)?;
                places.extend(found.map(|item| (1, item)));
            } else {
                places.push((0, item));
            }
        }
        lengths.push(places.len() - before);
    }
    let items = unfolded.items.finish();
    let values = interleave(&[own.values().as_ref(), items.as_ref()], &places)?;
    Ok(Arc::new(list(attribute_fields(), lengths.into_iter(), values)))
}

/// Items of folded attributes, each once, however many rows have them.
struct Unfolded<'a> {
    large: &'a BinaryViewArray,
    scope: AttributeScope,
    projection: &'a Projection,
    items: ItemBuilder,
    /// By the view of the folded value.
    known: HashMap<u128, std::ops::Range<usize>>,
}

impl Unfolded<'_> {
    /// Where the attributes of an item are; `added` is how many there are already. None if it is damaged.
    fn of(&mut self, item: usize, added: &mut usize) -> Option<std::ops::Range<usize>> {
        let view = *self.large.views().get(item).filter(|_| self.large.is_valid(item))?;
        if let Some(known) = self.known.get(&view) {
            return Some(known.clone());
        }
        let first = *added;
        let mut asked = Asked::new(self.scope, self.projection);
        for field in Fields::new(self.large.value(item)) {
            let (key, value) = key_value(field.ok()?.bytes().ok()?).ok()?;
            let key = std::str::from_utf8(key).ok()?;
            value.check_nested().ok()?;
            if asked.takes(key) {
                self.items.append(key, value, None);
                *added += 1;
            }
        }
        self.known.insert(view, first..*added);
        Some(first..*added)
    }
}
