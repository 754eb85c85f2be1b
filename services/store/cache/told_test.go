package cache

import (
	"testing"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func TestEventsAreShared(t *testing.T) {
	const added, modified = storev1.WatchEvent_TYPE_ADDED, storev1.WatchEvent_TYPE_MODIFIED
	b := NewBudget(1 << 20)
	v := stored(t, b, 6)
	json, protobuf := Form{Encoding: storev1.Encoding_ENCODING_JSON}, Form{Encoding: storev1.Encoding_ENCODING_PROTOBUF}
	table := Form{Encoding: storev1.Encoding_ENCODING_JSON, Projection: storev1.Projection_PROJECTION_TABLE}
	var last *storev1.WatchEvent
	for _, tc := range []struct {
		name   string
		t      storev1.WatchEvent_Type
		form   Form
		shared bool // with the one before
	}{
		{"the first", added, json, false},
		{"the same", added, json, true},
		{"something else", modified, json, false},
		{"in another form", modified, protobuf, false},
		{"in that form", modified, protobuf, true},
		{"a row", modified, table, false},
		{"a row, whose cells may have changed", modified, table, false},
	} {
		event, alone, err := v.Event(tc.t, tc.form)
		if err != nil {
			t.Fatal(err)
		}
		if shared := event == last; shared != tc.shared {
			t.Errorf("%s: shared: %v, want %v", tc.name, shared, tc.shared)
		}
		last = event
		want, err := v.Encode(tc.form)
		if err != nil {
			t.Fatal(err)
		}
		if events := alone.Events.GetEvents(); len(events) != 1 || events[0] != event {
			t.Errorf("%s: alone it is %v", tc.name, events)
		}
		if event.GetType() != tc.t || event.GetResourceVersion() != "7" || event.GetObject().String() != want.String() {
			t.Errorf("%s: the event is %v", tc.name, event)
		}
	}
	if held := v.memo.Load().cost.Load(); held != b.sum() {
		t.Errorf("the memo costs %d, the budget counts %d", held, b.sum())
	}
}
