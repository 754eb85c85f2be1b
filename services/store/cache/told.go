package cache

import storev1 "navarch.dev/navarch/proto/navarch/store/v1"

// told is the content of a message of one event.
type told struct {
	form  Form
	event *storev1.WatchEvent
	alone *storev1.WatchResponse_Events // holds event
}

// Event returns the event that something became of the version, and the content of a
// message of it alone. Both are shared, by all watchers who are told the same in the
// same form, and must not be changed. The message itself must not be shared: to hand
// it over is to copy it.
func (v *Version) Event(t storev1.WatchEvent_Type, f Form) (*storev1.WatchEvent, *storev1.WatchResponse_Events, error) {
	m := v.recall()
	kept := m.told.Load()
	if kept != nil && kept.form == f && kept.event.GetType() == t {
		return kept.event, kept.alone, nil
	}
	obj, err := v.Encode(f)
	if err != nil {
		return nil, nil, err
	}
	event := &storev1.WatchEvent{Type: t, Object: obj, ResourceVersion: ResourceVersion(v.Revision)}
	alone := &storev1.WatchResponse_Events{Events: &storev1.WatchEvents{Events: []*storev1.WatchEvent{event}}}
	if f.Table() { // whose cells change with time
		return event, alone, nil
	}
	if m.told.Swap(&told{f, event, alone}) == nil {
		v.charge(m, toldCost)
	}
	return event, alone, nil
}
