//! Whose data a request asks for.

use axum::http::HeaderMap;
use vivace_model::{TenantError, TenantId};

use crate::QueryError;

const HEADER: &str = "x-scope-orgid";
const SEVERAL: &str = "X-Scope-OrgID names several tenants; VIVACE_QUERY_FRONTEND_MULTI_TENANT_QUERIES_ENABLED=true allows that";
/// Tenants that one request may name.
const TENANTS_MAX: usize = 64;

/// How tenants are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tenancy {
    /// Off: there is one tenant, and the header means nothing.
    pub(crate) enabled: bool,
    /// Whether a query may name several.
    pub(crate) several: bool,
}

impl Tenancy {
    /// The tenants that the header names, each once, in order of their names.
    pub(crate) fn tenants(self, headers: &HeaderMap) -> Result<Vec<TenantId>, QueryError> {
        if !self.enabled {
            return Ok(vec![TenantId::default()]);
        }
        let mut values = headers.get_all(HEADER).iter();
        let first = values.next();
        // A proxy may repeat the header, but not change it.
        if values.any(|other| Some(other) != first) {
            return Err(QueryError::Tenant(TenantError::Ambiguous));
        }
        let header = first.map(|value| value.to_str());
        let text = match header {
            None | Some(Ok("")) => return Err(QueryError::NoTenant),
            Some(Ok(text)) => text,
            // Whatever it is, it is no character of a tenant's name.
            Some(Err(_)) => {
                return Err(QueryError::Tenant(TenantError::Character(char::REPLACEMENT_CHARACTER)));
            }
        };
        let parse = |name: &str| name.parse::<TenantId>().map_err(QueryError::Tenant);
        if !self.several && text.contains('|') {
            return Err(QueryError::Invalid(SEVERAL.into()));
        }
        if !self.several {
            return Ok(vec![parse(text)?]);
        }
        let mut tenants = text.split('|').map(parse).collect::<Result<Vec<_>, _>>()?;
        tenants.sort();
        tenants.dedup();
        if tenants.len() > TENANTS_MAX {
            return Err(QueryError::Invalid(format!("more than {TENANTS_MAX} tenants are asked for")));
        }
        Ok(tenants)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(tenancy: Tenancy, header: Option<&[u8]>) -> Result<Vec<String>, u16> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("X-Scope-OrgID", http::HeaderValue::from_bytes(value).unwrap());
        }
        let tenants = tenancy.tenants(&headers).map_err(|error| error.status().as_u16())?;
        Ok(tenants.into_iter().map(String::from).collect())
    }

    #[test]
    fn without_tenancy_the_header_means_nothing() {
        let off = Tenancy { enabled: false, several: true };
        for header in [None, Some(&b"a"[..]), Some(b"/")] {
            assert_eq!(tenants(off, header), Ok(vec!["single-tenant".into()]));
        }
    }

    #[test]
    fn with_tenancy_the_header_is_required_and_checked() {
        let on = Tenancy { enabled: true, several: true };
        assert_eq!(tenants(on, None), Err(401));
        assert_eq!(tenants(on, Some(b"")), Err(401));
        assert_eq!(tenants(on, Some(b"a")), Ok(vec!["a".into()]));
        assert_eq!(tenants(on, Some(b"b|a|b")), Ok(vec!["a".into(), "b".into()]));
        for wrong in [&b"a/b"[..], b"..", b"a||b", b"a|", b"\xff"] {
            assert_eq!(tenants(on, Some(wrong)), Err(400), "{wrong:?}");
        }
        let many = (0..=TENANTS_MAX).map(|number| number.to_string()).collect::<Vec<_>>().join("|");
        assert_eq!(tenants(on, Some(many.as_bytes())), Err(400));
    }

    #[test]
    fn two_headers_must_agree() {
        let on = Tenancy { enabled: true, several: true };
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(HEADER, http::HeaderValue::from_static(value));
            }
            on.tenants(&headers).map(|tenants| tenants.len()).map_err(|error| error.text())
        };
        assert_eq!(of(&["a", "a"]), Ok(1));
        let text = of(&["a", "b"]).unwrap_err();
        assert!(text.contains("X-Scope-OrgID is given more than once, with different values"), "{text}");
        let off = Tenancy { enabled: false, several: true };
        let headers = [("x-scope-orgid", "a"), ("x-scope-orgid", "b")].map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        assert!(off.tenants(&headers.into_iter().collect()).is_ok(), "it means nothing");
    }

    #[test]
    fn several_tenants_can_be_refused() {
        let one = Tenancy { enabled: true, several: false };
        assert_eq!(tenants(one, Some(b"a")), Ok(vec!["a".into()]));
        assert_eq!(tenants(one, Some(b"a|b")), Err(400));
    }
}
