use axum::http::{HeaderMap, header};

use super::joined;

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Protobuf,
}

impl Format {
    /// As Tempo reads `Accept`: by what it contains, protobuf first, without weights; anything else means JSON.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if joined(headers, &header::ACCEPT).contains("application/protobuf") {
            Self::Protobuf
        } else {
            Self::Json
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_is_given_when_it_is_named_anywhere() {
        for (accept, expected) in [
            (&[][..], Format::Json),
            (&["*/*"], Format::Json),
            (&["text/html"], Format::Json),
            (&["application/json"], Format::Json),
            (&["application/protobuf"], Format::Protobuf),
            (&["application/json, application/protobuf;q=0.1"], Format::Protobuf),
            (&["application/json", "application/protobuf"], Format::Protobuf),
            (&["application/vnd.grafana.llm"], Format::Json),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, value.parse().unwrap());
            }
            assert_eq!(Format::of(&headers), expected, "{accept:?}");
        }
    }
}
