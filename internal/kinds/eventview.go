package kinds

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// eventColumns: what kubectl shows of an event begins with its age and ends
// with its name.
func eventColumns() []Column {
	doc := corev1.Event{}.SwaggerDoc()
	name := wide(nameColumn())
	return []Column{
		text("Last Seen", doc["lastTimestamp"], lastSeen),
		text("Type", doc["type"], func(e *corev1.Event) string { return e.Type }),
		text("Reason", doc["reason"], func(e *corev1.Event) string { return e.Reason }),
		text("Object", doc["involvedObject"], eventObject),
		wide(text("Subobject", doc["involvedObject"], func(e *corev1.Event) string { return e.InvolvedObject.FieldPath })),
		wide(text("Source", doc["source"], eventSource)),
		text("Message", doc["message"], func(e *corev1.Event) string { return strings.TrimSpace(e.Message) }),
		wide(text("First Seen", doc["firstTimestamp"], firstSeen)),
		wide(figure("Count", doc["count"], func(e *corev1.Event) int64 { return int64(eventCount(e)) })),
		name,
	}
}

func firstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return sinceMicro(e.EventTime)
	}
	return Since(e.FirstTimestamp)
}

func lastSeen(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return sinceMicro(e.Series.LastObservedTime)
	case e.LastTimestamp.IsZero():
		return firstSeen(e)
	}
	return Since(e.LastTimestamp)
}

func eventCount(e *corev1.Event) int32 {
	switch {
	case e.Series != nil:
		return e.Series.Count
	case e.Count == 0:
		return 1
	}
	return e.Count
}

func eventObject(e *corev1.Event) string {
	kind := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name == "" {
		return kind
	}
	return kind + "/" + e.InvolvedObject.Name
}

func eventSource(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component, host = e.ReportingController, e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}

func eventFieldNames() []string {
	return []string{"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
		"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
		"reason", "reportingComponent", "source", "type"}
}

func eventFields(e *corev1.Event) map[string]string {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return map[string]string{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

func eventStrategy() Strategy {
	return plain(rules[*corev1.Event]{validate: func(e *corev1.Event) field.ErrorList {
		return rule.Join(validateEventNamespace(e), validateReporter(e, "reportingComponent"))
	}})
}

// validateEventNamespace: an event is where what it is about is. Events about
// what is in no namespace are in those of the system.
func validateEventNamespace(e *corev1.Event) field.ErrorList {
	about := e.InvolvedObject.Namespace
	switch {
	case about == e.Namespace:
		return nil
	case about == "" && (e.Namespace == metav1.NamespaceDefault || (e.Namespace == metav1.NamespaceSystem && !e.EventTime.IsZero())):
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")}
}

const (
	longestReason  = 128
	longestMessage = 1024
)

// validateReporter: an event of the newer sort, which has a time of its own,
// says who reports it and what was done.
func validateReporter(e *corev1.Event, controller string) field.ErrorList {
	if e.EventTime.IsZero() {
		return nil
	}
	errs := append(rule.Required(e.ReportingController, field.NewPath(controller)),
		rule.Invalids(field.NewPath(controller), e.ReportingController, validation.IsQualifiedName(e.ReportingController))...)
	for _, text := range []struct{ field, value string }{
		{"reportingInstance", e.ReportingInstance}, {"action", e.Action}, {"reason", e.Reason},
	} {
		at := field.NewPath(text.field)
		errs = append(errs, rule.Required(text.value, at)...)
		if len(text.value) > longestReason {
			errs = append(errs, field.Invalid(at, "", fmt.Sprintf("can have at most %d characters", longestReason)))
		}
	}
	if len(e.Message) > longestMessage {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %d characters", longestMessage)))
	}
	return errs
}

// newEventStrategy has the rules of the newer form, which has no older events.
func newEventStrategy() Strategy {
	return plain(rules[*eventsv1.Event]{
		validate: func(e *eventsv1.Event) field.ErrorList {
			return rule.Join(validateEventNamespace(coreEvent(e)), validateReporter(coreEvent(e), "reportingController"))
		},
		validateCreate: validateNewEvent,
		validateUpdate: validateNewEventUpdate,
	})
}

// validateNewEvent: a new event of the newer form has none of what the older
// form had in its place.
func validateNewEvent(e *eventsv1.Event) field.ErrorList {
	errs := validateSeries(e.Series)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
	}
	for _, older := range []rule.Flag{
		rule.Set("firstTimestamp", !e.DeprecatedFirstTimestamp.IsZero()), rule.Set("lastTimestamp", !e.DeprecatedLastTimestamp.IsZero()),
		rule.Set("count", e.DeprecatedCount != 0), rule.Set("source", e.DeprecatedSource != corev1.EventSource{}),
	} {
		if older.Set {
			errs = append(errs, field.Invalid(field.NewPath(older.Field), "", "needs to be unset"))
		}
	}
	return errs
}

func validateSeries(s *eventsv1.EventSeries) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	if s.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if s.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// validateNewEventUpdate: of an event only its series goes on. Fields have the
// names that they have in the older form.
func validateNewEventUpdate(e, old *eventsv1.Event) field.ErrorList {
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(e.Series, old.Series) {
		errs = validateSeries(e.Series)
	}
	is, was := coreEvent(e), coreEvent(old)
	// Clients may round the time to what JSON or Protobuf can say.
	if is.EventTime.Truncate(time.Microsecond).Equal(was.EventTime.Truncate(time.Microsecond)) {
		is.EventTime = was.EventTime
	}
	for _, kept := range []struct {
		field   string
		is, was any
	}{
		{"involvedObject", is.InvolvedObject, was.InvolvedObject},
		{"reason", is.Reason, was.Reason},
		{"message", is.Message, was.Message},
		{"source", is.Source, was.Source},
		{"firstTimestamp", is.FirstTimestamp, was.FirstTimestamp},
		{"lastTimestamp", is.LastTimestamp, was.LastTimestamp},
		{"count", is.Count, was.Count},
		{"type", is.Type, was.Type},
		{"eventTime", is.EventTime, was.EventTime},
		{"action", is.Action, was.Action},
		{"related", is.Related, was.Related},
		{"reportingController", is.ReportingController, was.ReportingController},
		{"reportingInstance", is.ReportingInstance, was.ReportingInstance},
	} {
		errs = append(errs, rule.Immutable(kept.is, kept.was, field.NewPath(kept.field))...)
	}
	return errs
}

// newEventColumns are eventColumns of the newer form of events.
func newEventColumns() []Column {
	cols := eventColumns()
	for i := range cols {
		value := cols[i].Value
		cols[i].Value = func(o Object) any { return value(coreEvent(o.(*eventsv1.Event))) }
	}
	return cols
}

func newEventFieldNames() []string {
	names := eventFieldNames()
	for i := range names {
		names[i] = newEventField(names[i])
	}
	return names
}

func newEventField(name string) string {
	if rest, ok := strings.CutPrefix(name, "involvedObject."); ok {
		return "regarding." + rest
	}
	if name == "reportingComponent" {
		return "reportingController"
	}
	return name
}

func newEventFields(e *eventsv1.Event) map[string]string {
	out := map[string]string{}
	for name, value := range eventFields(coreEvent(e)) {
		out[newEventField(name)] = value
	}
	return out
}

// sharedEvents shows core events under their newer form, and stores what is
// written in that as core events.
func sharedEvents() *Sharing {
	return &Sharing{
		GVR: corev1.SchemeGroupVersion.WithResource("events"),
		Decode: func(stored Object) (Object, error) {
			e, ok := stored.(*corev1.Event)
			if !ok {
				return nil, fmt.Errorf("show %T as an events.k8s.io Event", stored)
			}
			return newEvent(e), nil
		},
		Encode: func(obj Object) (Object, error) {
			e, ok := obj.(*eventsv1.Event)
			if !ok {
				return nil, fmt.Errorf("store %T as a core Event", obj)
			}
			return coreEvent(e), nil
		},
	}
}

func newEvent(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		ObjectMeta: *e.ObjectMeta.DeepCopy(), EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject, Related: e.Related, Note: e.Message, Type: e.Type,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func coreEvent(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		ObjectMeta: *e.ObjectMeta.DeepCopy(), EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, InvolvedObject: e.Regarding, Related: e.Related, Message: e.Note, Type: e.Type,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
		Count: e.DeprecatedCount,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}
