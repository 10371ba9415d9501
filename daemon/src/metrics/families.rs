//! Writes families of metrics: a name, a help text, and a value for each set of labels.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use crate::engine::counters::Histogram;
use crate::engine::view::Tally;

/// The families of one exposition.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

impl Families<'_> {
    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    /// A gauge with a value for each set of labels.
    pub(super) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A gauge that counts by one label.
    pub(super) fn tally(&mut self, name: &str, help: &str, label: &str, tally: &Tally) -> fmt::Result {
        self.gauges(name, help, tally.iter().map(|(value, count)| ([(label, value.as_str())], *count)))
    }

    /// A time; left out where there is none.
    pub(super) fn time(&mut self, name: &str, help: &str, at: Option<DateTime<Utc>>) -> fmt::Result {
        match at {
            Some(at) => self.gauge(name, help, seconds(at - DateTime::UNIX_EPOCH)),
            None => Ok(()),
        }
    }

    /// A counter without labels; the library adds `_total` to its name.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// A counter with a value for each set of labels.
    pub(super) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A histogram for each set of labels.
    pub(super) fn histograms<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, times) in values {
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(times.sum, times.count(), &times.buckets(), None)?;
        }
        Ok(())
    }
}

/// A length of time in seconds, to the millisecond.
#[allow(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
pub(super) fn seconds(time: TimeDelta) -> f64 {
    time.num_milliseconds() as f64 / 1_000.0
}
