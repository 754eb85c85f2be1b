package framework

// CycleState is what plugins remember within one attempt. It is written in
// PreFilter and PreScore and only read while nodes are looked at in parallel.
type CycleState struct {
	values []value
	// filters and scores are the plugins that did not opt out.
	filters []turn
	scores  []WeightedScore
}

// turn is a filter's part in an attempt.
type turn struct {
	filter Filter
	// at is its place among all of the profile's.
	at int
	// lasts says that its verdicts last.
	lasts bool
}

type value struct {
	key any
	val any
}

// Key is where a plugin keeps a T. Each variable made by NewKey is another key.
type Key[T any] struct{ _ byte }

// NewKey returns a new key.
func NewKey[T any]() *Key[T] { return &Key[T]{} }

// Set stores v in state.
func (k *Key[T]) Set(state *CycleState, v T) {
	for i := range state.values {
		if state.values[i].key == any(k) {
			state.values[i].val = v
			return
		}
	}
	state.values = append(state.values, value{key: k, val: v})
}

// Get returns what was Set, or the zero T. There are few keys in a state, so a
// linear search beats a map.
func (k *Key[T]) Get(state *CycleState) (v T) {
	for i := range state.values {
		if state.values[i].key == any(k) {
			return state.values[i].val.(T)
		}
	}
	return v
}
