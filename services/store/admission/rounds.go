package admission

// Rounds is what is noted about a request that webhooks or policies change, so
// that each of them can be asked again about what others have changed since.
type Rounds struct {
	changed bool
	second  bool
	notes   map[any]any
}

// Change notes that a webhook or policy has changed the object: there will be a
// second round.
func (r *Rounds) Change() { r.changed = true }

// Changed says whether a webhook or policy has changed the object.
func (r *Rounds) Changed() bool { return r.changed }

// Second says whether this is the second and last round.
func (r *Rounds) Second() bool { return r.second }

// Note returns what is kept under a key, and keeps what make returns if there
// is nothing yet.
func (r *Rounds) Note(key any, make func() any) any {
	note, ok := r.notes[key]
	if !ok {
		if r.notes == nil {
			r.notes = map[any]any{}
		}
		note = make()
		r.notes[key] = note
	}
	return note
}
