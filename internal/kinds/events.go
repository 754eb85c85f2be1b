package kinds

import eventsv1 "k8s.io/api/events/v1"

// eventsKinds are the kinds of events.k8s.io/v1.
func eventsKinds() []*Kind {
	return []*Kind{
		object[eventsv1.Event, eventsv1.EventList](Kind{
			Group: "events.k8s.io", Version: "v1", Resource: "events", Kind: "Event", Singular: "event",
			ShortNames:     []string{"ev"},
			Namespaced:     true,
			Columns:        newEventColumns(),
			Fields:         fields(newEventFields),
			FieldNames:     newEventFieldNames(),
			CreateOnUpdate: true,
			NamedOnce:      true,
			Strategy:       newEventStrategy(),
			StoredAs:       sharedEvents(),
		}),
	}
}
