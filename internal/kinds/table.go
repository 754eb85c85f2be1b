package kinds

// Column is one column of the table that kubectl get prints.
type Column struct {
	// Name is the heading, "Ready".
	Name string
	// Type is the OpenAPI type: "string", "integer", "boolean", "date".
	Type string
	// Format is "name" for the first column, else usually empty.
	Format string
	// Description is shown by API explorers.
	Description string
	// Priority 0 is always shown, 1 only with -o wide.
	Priority int32
	// Value returns the cell: a string, an int64, a bool or nil.
	Value func(Object) any
}
