package kinds

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
)

// none is what a cell shows when there is nothing to show.
const none = "<none>"

// unknown is what a cell shows when the value cannot be known.
const unknown = "<unknown>"

// nameColumn is the first column of every kind.
func nameColumn() Column {
	return Column{
		Name: "Name", Type: "string", Format: "name", Description: metaDoc("name"),
		Value: func(o Object) any { return o.GetName() },
	}
}

// ageColumn is the time since creation, as Kubernetes prints it.
func ageColumn() Column {
	return Column{
		Name: "Age", Type: "string", Description: metaDoc("creationTimestamp"),
		Value: func(o Object) any { return Since(o.GetCreationTimestamp()) },
	}
}

// text is an always shown column of strings.
func text[O Object](name, description string, value func(O) string) Column {
	return Column{Name: name, Type: "string", Description: description, Value: func(o Object) any { return value(o.(O)) }}
}

// number is an always shown column of integers.
func number[O Object](name, description string, value func(O) int64) Column {
	return Column{Name: name, Type: "integer", Description: description, Value: func(o Object) any { return value(o.(O)) }}
}

// figure is number for columns that Kubernetes declares to be of strings.
func figure[O Object](name, description string, value func(O) int64) Column {
	return declared("string", number(name, description, value))
}

// truth is an always shown column of booleans.
func truth[O Object](name, description string, value func(O) bool) Column {
	return Column{Name: name, Type: "boolean", Description: description, Value: func(o Object) any { return value(o.(O)) }}
}

// declared makes a column be declared of a type, whatever its cells are.
func declared(as string, c Column) Column {
	c.Type = as
	return c
}

// named makes a column be declared one of names.
func named(c Column) Column {
	c.Format = "name"
	return c
}

// wide makes a column appear only with -o wide.
func wide(c Column) Column {
	c.Priority = 1
	return c
}

// columns is the name column followed by the given ones.
func columns(more ...Column) []Column { return append([]Column{nameColumn()}, more...) }

func metaDoc(name string) string { return metav1.ObjectMeta{}.SwaggerDoc()[name] }

// Since returns the time since t in kubectl's short form, "5d" or "3m20s".
func Since(t metav1.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(time.Since(t.Time))
}

func sinceMicro(t metav1.MicroTime) string {
	return Since(metav1.NewTime(t.Time))
}

// orNone is s, or the word for nothing.
func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func formatLabels(set map[string]string) string { return orNone(labels.Set(set).String()) }

func formatSelector(s *metav1.LabelSelector) string {
	if s == nil {
		return none
	}
	return metav1.FormatLabelSelector(s)
}

// yesNo writes a bool as kubectl does.
func yesNo(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// createdColumn is the time of creation, for kinds that are known by their
// date rather than their age.
func createdColumn() Column {
	return Column{
		Name: "Created At", Type: "date", Description: metaDoc("creationTimestamp"),
		Value: func(o Object) any { return o.GetCreationTimestamp().UTC().Format(time.RFC3339) },
	}
}

func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

func pointerOr[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// some joins the first few values and counts the others.
func some(values []string, shown int, between string) string {
	if len(values) <= shown {
		return strings.Join(values, between)
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(values[:shown], between), len(values)-shown)
}
