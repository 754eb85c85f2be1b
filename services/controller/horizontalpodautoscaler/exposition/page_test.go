package exposition

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
)

const page = `# HELP jobs Jobs that wait.
# TYPE jobs gauge
jobs{queue="mail",prio="1"} 3
jobs{prio="2",queue="mail"} 4.5
jobs{queue="print"} 10
# TYPE requests_total counter
requests_total{code="200"} 1000
requests_total{code="500"} 7
# TYPE latency histogram
latency_bucket{le="1"} 5
latency_bucket{le="+Inf"} 8
latency_sum 12.5
latency_count 8
# TYPE size summary
size{quantile="0.5"} 3
size_sum 30
size_count 9
plain 42
# TYPE broken gauge
broken NaN
# TYPE half gauge
half{x="1"} +Inf
half{x="2"} 2
`

func TestMetric(t *testing.T) {
	parsed, err := Parse([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	type series = map[string]float64
	for name, tt := range map[string]struct {
		metric, selector string
		want             Metric
		sum              float64
		err              string
	}{
		"all series of a gauge":            {"jobs", "", Metric{false, series{`prio="1",queue="mail"`: 3, `prio="2",queue="mail"`: 4.5, `queue="print"`: 10}}, 17.5, ""},
		"those that a label selects":       {"jobs", "queue=mail", Metric{false, series{`prio="1",queue="mail"`: 3, `prio="2",queue="mail"`: 4.5}}, 7.5, ""},
		"those that an expression selects": {"jobs", "prio notin (1)", Metric{false, series{`prio="2",queue="mail"`: 4.5, `queue="print"`: 10}}, 14.5, ""},
		"a counter":                        {"requests_total", "code=500", Metric{true, series{`code="500"`: 7}}, 7, ""},
		"a counter without its suffix":     {"requests", "", Metric{true, series{`code="200"`: 1000, `code="500"`: 7}}, 1007, ""},
		"how often of a histogram":         {"latency_count", "", Metric{true, series{"": 8}}, 8, ""},
		"how much of a histogram":          {"latency_sum", "", Metric{true, series{"": 12.5}}, 12.5, ""},
		"how often of a summary":           {"size_count", "", Metric{true, series{"": 9}}, 9, ""},
		"how much of a summary":            {"size_sum", "", Metric{true, series{"": 30}}, 30, ""},
		"without a type":                   {"plain", "", Metric{false, series{"": 42}}, 42, ""},
		"what is a number of it":           {"half", "", Metric{false, series{`x="2"`: 2}}, 2, ""},
		"no number":                        {"broken", "", Metric{}, 0, `the page has no number for the metric "broken"`},
		"nothing selected":                 {"jobs", "queue=none", Metric{}, 0, `the page has no number for the metric "jobs" with labels "queue=none"`},
		"not there":                        {"nothing", "", Metric{}, 0, `the page has no metric "nothing"`},
		"a whole histogram":                {"latency", "", Metric{}, 0, `"latency" is a histogram, which has no value; it has latency_count and latency_sum`},
		"a whole summary":                  {"size", "", Metric{}, 0, `"size" is a summary`},
		"a gauge is no count":              {"jobs_count", "", Metric{}, 0, `the page has no metric "jobs_count"`},
	} {
		t.Run(name, func(t *testing.T) {
			selector, err := labels.Parse(tt.selector)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsed.Metric(tt.metric, selector)
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if got.Sum() != tt.sum {
				t.Errorf("sum %v, want %v", got.Sum(), tt.sum)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a web page":        "<!DOCTYPE html><html></html>\n",
		"half a line":       "jobs{queue=\"mail\n",
		"no number":         "jobs many\n",
		"two types of one":  "# TYPE a gauge\n# TYPE a counter\na 1\n",
		"a type that is no": "# TYPE a thing\na 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(text)); err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(page), "jobs", "queue=mail")
	f.Add([]byte("a{b=\"\\\"\"} 1e400\n"), "a_count", "")
	f.Add([]byte("{\"a.b\"} 1\n"), "a.b", "")
	f.Fuzz(func(t *testing.T, text []byte, name, wanted string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		selector, err := labels.Parse(wanted)
		if err != nil {
			return
		}
		if m, err := parsed.Metric(name, selector); err == nil && len(m.Series) == 0 {
			t.Error("a metric without series")
		}
	})
}
