//! Answers as Grafana's data source reads them: a field that it does not know fails the whole query.

use serde_json::Value;

const METRICS: &[&str] = &[
    "inspectedTraces",
    "inspectedBytes",
    "totalBlocks",
    "completedJobs",
    "totalJobs",
    "totalBlockBytes",
    "inspectedSpans",
];
const ATTRIBUTE: &[&str] = &["key", "value"];

/// An answer of `/api/search`.
pub(crate) fn search(answer: &Value) {
    known(answer, &["traces", "metrics"]);
    known(&answer["metrics"], METRICS);
    for trace in list(answer, "traces") {
        let fields = [
            "traceID",
            "rootServiceName",
            "rootTraceName",
            "startTimeUnixNano",
            "durationMs",
            "spanSet",
            "spanSets",
            "serviceStats",
        ];
        known(trace, &fields);
        assert!(trace["startTimeUnixNano"].is_string() && trace["rootServiceName"].is_string(), "{trace}");
        assert!(!trace["spanSets"][0]["spans"].as_array().unwrap().is_empty(), "{trace}");
        let sets = list(trace, "spanSets");
        assert_eq!(trace.get("spanSet"), (sets.len() == 1).then(|| &sets[0]));
        for set in sets {
            known(set, &["spans", "matched", "attributes"]);
            assert!(set["matched"].is_u64());
            list(set, "attributes").iter().for_each(|attribute| known(attribute, ATTRIBUTE));
            for span in list(set, "spans") {
                known(span, &["spanID", "name", "startTimeUnixNano", "durationNanos", "attributes"]);
                assert_eq!(span["spanID"].as_str().unwrap().len(), 16);
                assert!(span["startTimeUnixNano"].is_string() && span["durationNanos"].is_string());
                list(span, "attributes").iter().for_each(|attribute| known(attribute, ATTRIBUTE));
            }
        }
        let stats = trace["serviceStats"].as_object().unwrap();
        stats.values().for_each(|stats| known(stats, &["spanCount", "errorCount"]));
    }
}

/// An answer of `/api/metrics/query_range`.
pub(crate) fn range(answer: &Value) {
    known(answer, &["series", "metrics", "status", "message"]);
    known(&answer["metrics"], METRICS);
    for series in list(answer, "series") {
        known(series, &["labels", "samples", "exemplars"]);
        for sample in list(series, "samples") {
            assert!(sample["timestampMs"].is_string() && sample["value"].is_number(), "{sample}");
        }
        for exemplar in list(series, "exemplars") {
            let labels = list(exemplar, "labels");
            let id = labels.iter().find(|label| label["key"] == "trace:id").unwrap();
            assert_eq!(id["value"]["stringValue"].as_str().unwrap().len(), 32);
            assert!(exemplar["value"].as_f64().is_some_and(|value| value != 0.0), "{exemplar}");
        }
    }
}

/// An answer of `/api/metrics/query`.
pub(crate) fn instant(answer: &Value) {
    known(answer, &["series", "metrics", "status", "message"]);
    known(&answer["metrics"], METRICS);
    list(answer, "series").iter().for_each(|series| known(series, &["labels", "value"]));
}

/// The list of that name, empty if it is not there.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The value of a label or attribute, if there is one.
pub(crate) fn labelled<'a>(of: &'a Value, list_name: &str, key: &str) -> Option<&'a Value> {
    let found = list(of, list_name).iter().find(|item| item["key"] == key)?;
    found["value"].as_object()?.values().next()
}

fn known(value: &Value, fields: &[&str]) {
    let Some(object) = value.as_object() else { panic!("no object: {value}") };
    for name in object.keys() {
        assert!(fields.contains(&name.as_str()), "unknown field {name} in {value}");
    }
}
