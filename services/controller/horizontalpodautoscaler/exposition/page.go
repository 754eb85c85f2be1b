package exposition

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/labels"
)

// Page is what a pod exposes.
type Page struct {
	families map[string]*dto.MetricFamily
}

// Parse reads a page in the Prometheus text format.
func Parse(page []byte) (*Page, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return nil, fmt.Errorf("read the page as Prometheus text: %w", err)
	}
	return &Page{families}, nil
}

// Metric is what a page says of one metric.
type Metric struct {
	// Counter says that the values only grow, until the program begins anew.
	Counter bool
	// Series are the values by their labels, in a form that is the same for the
	// same labels.
	Series map[string]float64
}

// Sum returns the sum of all series.
func (m Metric) Sum() (sum float64) {
	for _, v := range m.Series {
		sum += v
	}
	return sum
}

// totalSuffix ends the names of counters, by convention.
const totalSuffix = "_total"

// Metric returns a metric's series whose labels match. A counter is found
// without its suffix "_total", too; the parts of a histogram or a summary are
// found by their names with "_count" and "_sum". Values that are no numbers
// are left out.
func (p *Page) Metric(name string, selector labels.Selector) (Metric, error) {
	family, part := p.find(name)
	if family == nil {
		return Metric{}, fmt.Errorf("the page has no metric %q", name)
	}
	kind := family.GetType()
	if part == "" && (kind == dto.MetricType_HISTOGRAM || kind == dto.MetricType_SUMMARY || kind == dto.MetricType_GAUGE_HISTOGRAM) {
		return Metric{}, fmt.Errorf("%q is a %s, which has no value; it has %s_count and %s_sum", name, strings.ToLower(kind.String()), name, name)
	}
	m := Metric{Counter: kind == dto.MetricType_COUNTER || part != "", Series: make(map[string]float64)}
	for _, series := range family.GetMetric() {
		set, key := labelsOf(series)
		v := valueOf(series, part)
		if selector.Matches(set) && !math.IsNaN(v) && !math.IsInf(v, 0) {
			m.Series[key] += v
		}
	}
	if len(m.Series) == 0 {
		return Metric{}, fmt.Errorf("the page has no number for the metric %q with labels %q", name, selector)
	}
	return m, nil
}

// find returns the family that a name means, and the part of it if it is not
// the whole.
func (p *Page) find(name string) (family *dto.MetricFamily, part string) {
	if f, ok := p.families[name]; ok {
		return f, ""
	}
	if f, ok := p.families[name+totalSuffix]; ok && f.GetType() == dto.MetricType_COUNTER {
		return f, ""
	}
	for _, part := range []string{"_count", "_sum"} {
		base, ok := strings.CutSuffix(name, part)
		if !ok {
			continue
		}
		if f, ok := p.families[base]; ok && (f.GetType() == dto.MetricType_HISTOGRAM || f.GetType() == dto.MetricType_SUMMARY) {
			return f, part
		}
	}
	return nil, ""
}

func valueOf(m *dto.Metric, part string) float64 {
	switch {
	case part == "_count" && m.Histogram != nil:
		return float64(m.GetHistogram().GetSampleCount())
	case part == "_count":
		return float64(m.GetSummary().GetSampleCount())
	case part == "_sum" && m.Histogram != nil:
		return m.GetHistogram().GetSampleSum()
	case part == "_sum":
		return m.GetSummary().GetSampleSum()
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	}
	return m.GetUntyped().GetValue()
}

// labelsOf returns a series' labels, and a key that is the same for the same
// labels in any order.
func labelsOf(m *dto.Metric) (set labels.Set, key string) {
	set = make(labels.Set, len(m.GetLabel()))
	pairs := make([]string, 0, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		set[l.GetName()] = l.GetValue()
		pairs = append(pairs, l.GetName()+"="+strconv.Quote(l.GetValue()))
	}
	slices.Sort(pairs)
	return set, strings.Join(pairs, ",")
}
