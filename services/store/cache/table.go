package cache

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"navarch.dev/navarch/internal/kinds"
)

// TableColumns returns a kind's column definitions as a JSON array.
func TableColumns(kind *kinds.Kind) ([]byte, error) {
	columns := columnsOf(kind)
	out := make([]metav1.TableColumnDefinition, len(columns))
	for i, c := range columns {
		out[i] = metav1.TableColumnDefinition{
			Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority,
		}
	}
	return marshalJSON(out)
}

// Cells returns an object's table cells.
func Cells(kind *kinds.Kind, obj kinds.Object) []any {
	columns := columnsOf(kind)
	cells := make([]any, len(columns))
	for i, c := range columns {
		cells[i] = c.Value(obj)
	}
	return cells
}

// columnsOf returns a kind's columns: name and age where it names none.
func columnsOf(kind *kinds.Kind) []kinds.Column {
	if len(kind.Columns) > 0 {
		return kind.Columns
	}
	return []kinds.Column{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the object", Value: func(o kinds.Object) any { return o.GetName() }},
		{Name: "Age", Type: "string", Description: "Time since the object was created", Value: age},
	}
}

func age(obj kinds.Object) any {
	if obj.GetCreationTimestamp().Time.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(obj.GetCreationTimestamp().Time))
}
