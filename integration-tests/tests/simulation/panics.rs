//! Steps of ingesters that panic now and then, as long as the storm goes on.

use std::cell::Cell;
use std::rc::Rc;

use rand::RngExt;
use vivace_runtime::{FailPointHook, hook_fail_points};

use crate::plan::{Plan, dice};

/// Share of the steps that panic.
const SHARE: f64 = 0.01;
/// Steps on one set of records. One that fails here several times in a row by chance is put aside as if by its own fault,
/// which a test of the ingester looks at.
const OF_SETS: [&str; 3] = ["ingester.sealed", "ingester.uploading", "ingester.uploaded"];

/// Makes steps panic until it is told that the storm is over.
#[derive(Debug)]
pub(crate) struct Panics {
    stormy: Rc<Cell<bool>>,
    _hook: FailPointHook,
}

impl Panics {
    pub(crate) fn new(plan: &Plan) -> Self {
        let stormy = Rc::new(Cell::new(plan.panics));
        let mut dice = dice(plan.seed, "panicking steps");
        let storm = Rc::clone(&stormy);
        let hook = hook_fail_points(vivace_ingester::FAIL_POINTS, move |name, data| {
            storm.get() && data.is_none() && !OF_SETS.contains(&name) && dice.random_bool(SHARE)
        });
        Self { stormy, _hook: hook }
    }

    pub(crate) fn end(&self) {
        self.stormy.set(false);
    }
}
