//! Attributes: `.foo`, `span.foo-bar`, `resource."a b".c`, `parent.duration`.

use std::sync::Arc;

use vivace_model::schema::AttributeScope;

use crate::ast::{Attribute, Intrinsic, Target};

/// What a scope makes of a key.
pub(crate) type Scope = fn(Arc<str>) -> Target;

/// How each is written before a key.
const SCOPES: [(&str, Scope); 6] = [
    ("span.", |key| Target::Scoped(AttributeScope::Span, key)),
    ("resource.", |key| Target::Scoped(AttributeScope::Resource, key)),
    ("event.", Target::Event),
    ("link.", Target::Link),
    ("instrumentation.", |key| Target::Scoped(AttributeScope::Instrumentation, key)),
    (".", Target::Unscoped),
];

/// The scope that the text starts with, and what follows it.
pub(crate) fn split_scope(text: &str) -> Option<(Scope, &str)> {
    SCOPES.iter().find_map(|(prefix, scope)| Some((*scope, text.strip_prefix(prefix)?)))
}

/// What may stand in a key without quotes. `-` and `/` may: there are more keys with them than people who calculate
/// without blanks.
pub(crate) fn is_key_char(c: char) -> bool {
    !c.is_whitespace() && !"{}()=~!<>&|^,+*%\"`".contains(c)
}

/// The attribute that starts here and its length, none if none starts here.
pub(super) fn attribute(rest: &str) -> Result<Option<(Attribute, usize)>, String> {
    let after_parent = rest.strip_prefix("parent.");
    let parent = after_parent.is_some();
    let scope = split_scope(after_parent.unwrap_or(rest));
    let (scope_of_key, keyed): (Scope, _) = match (scope, after_parent) {
        (Some(scope), _) => scope,
        (None, Some(keyed)) => (Target::Unscoped, keyed),
        (None, None) => return Ok(None),
    };
    let prefix = rest.len() - keyed.len();
    let (key, length) = key(keyed)?;
    if key.is_empty() {
        return Err(format!("expected the name of an attribute after {:?}", &rest[..prefix]));
    }
    let whole = &rest[..prefix + length];
    let intrinsic = if parent && scope.is_none() { Intrinsic::of_parent(&keyed[..length]) } else { None };
    let target = intrinsic.map_or_else(|| scope_of_key(Arc::from(key)), Target::Intrinsic);
    Ok(Some((Attribute { parent, target, written: Arc::from(whole) }, whole.len())))
}

/// Bare and quoted parts, and their length in the text.
fn key(rest: &str) -> Result<(String, usize), String> {
    let mut key = String::new();
    let mut at = 0;
    loop {
        if rest[at..].starts_with('"') && (at == 0 || rest[..at].ends_with('.')) {
            at += quoted(&rest[at..], &mut key)?;
            if !rest[at..].starts_with('.') {
                return Ok((key, at));
            }
        }
        let bare = rest[at..].find(|c| !is_key_char(c)).unwrap_or(rest.len() - at);
        key.push_str(&rest[at..at + bare]);
        at += bare;
        if !(bare > 0 && rest[at..].starts_with('"') && rest[..at].ends_with('.')) {
            return Ok((key, at));
        }
    }
}

/// A quoted part; only `\"` and `\\` are escapes.
fn quoted(rest: &str, key: &mut String) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match (escaped, c) {
            (true, '"' | '\\') => key.push(c),
            (true, _) => return Err(format!("unknown escape \"\\{c}\" in the name of an attribute")),
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (false, '"') => return Ok(at + 1),
            (false, _) => key.push(c),
        }
        escaped = false;
    }
    Err("unterminated name of an attribute: the closing '\"' is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Option<Target> {
        super::super::whole_attribute(source).map(|attribute| attribute.target)
    }

    #[test]
    fn keys_hold_what_names_of_attributes_hold() {
        for (source, key) in [
            (".foo", "foo"),
            (".foo-bar/baz:x.y", "foo-bar/baz:x.y"),
            (".größe", "größe"),
            (".span.x", "span.x"),
            (r#"."a b""#, "a b"),
            (r#".foo."bar baz".x"#, "foo.bar baz.x"),
            (r#"."\"\\""#, "\"\\"),
            (".5xx", "5xx"),
            (".foo.", "foo."),
        ] {
            assert_eq!(read(source), Some(Target::Unscoped(Arc::from(key))), "{source}");
        }
        for bad in [
            ".",
            "span.",
            r#".foo"bar""#,
            r#"."a"b"#,
            r#"."\n""#,
            r#"."a"#,
            r#".foo.""#,
            r#".""#,
            ".a b",
            "foo",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn scopes_and_parents() {
        let key = |key: &str| Arc::<str>::from(key);
        assert_eq!(read("span.a"), Some(Target::Scoped(AttributeScope::Span, key("a"))));
        assert_eq!(read("event.a"), Some(Target::Event(key("a"))));
        let parent =
            |source: &str| super::super::whole_attribute(source).filter(|a| a.parent).map(|a| a.target);
        assert_eq!(parent("parent.resource.a"), Some(Target::Scoped(AttributeScope::Resource, key("a"))));
        assert_eq!(parent("parent.a"), Some(Target::Unscoped(key("a"))));
        assert_eq!(parent("parent.duration"), Some(Target::Intrinsic(Intrinsic::Duration)));
        assert_eq!(parent("parent.\"duration\""), Some(Target::Unscoped(key("duration"))));
        assert_eq!(
            parent("parent.span.duration"),
            Some(Target::Scoped(AttributeScope::Span, key("duration")))
        );
    }
}
