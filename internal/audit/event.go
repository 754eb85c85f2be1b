package audit

import (
	"encoding/json"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiVersion is that of policies and events.
const apiVersion = "audit.k8s.io/v1"

// Level says how much of a request is recorded.
type Level string

// The levels, each with all of the one before.
const (
	// None records nothing.
	None Level = "None"
	// Metadata records who asked for what, and how it was answered.
	Metadata Level = "Metadata"
	// Request records the object in the request too.
	Request Level = "Request"
	// RequestResponse records the object in the answer too.
	RequestResponse Level = "RequestResponse"
)

// Stage says when an event was made.
type Stage string

// The stages of a request.
const (
	// RequestReceived is before anything is done about the request.
	RequestReceived Stage = "RequestReceived"
	// ResponseStarted is when the answer's head is sent of a request that lasts,
	// such as a watch.
	ResponseStarted Stage = "ResponseStarted"
	// ResponseComplete is when nothing more will be sent.
	ResponseComplete Stage = "ResponseComplete"
	// Panic is when the request made who serves it panic.
	Panic Stage = "Panic"
)

// Event is a line of the log: audit.k8s.io/v1 Event.
type Event struct {
	metav1.TypeMeta `json:",inline"`

	Level      Level  `json:"level"`
	AuditID    string `json:"auditID"`
	Stage      Stage  `json:"stage"`
	RequestURI string `json:"requestURI"`
	// Verb is the API's or, for what is no resource, the method in lower case.
	Verb             string                     `json:"verb"`
	User             authenticationv1.UserInfo  `json:"user"`
	ImpersonatedUser *authenticationv1.UserInfo `json:"impersonatedUser,omitempty"`
	// SourceIPs are those of proxies that told them, and last the connection's.
	// Clients can make up all but the last.
	SourceIPs []string `json:"sourceIPs,omitempty"`
	UserAgent string   `json:"userAgent,omitempty"`
	// ObjectRef is nil for what is no resource.
	ObjectRef      *ObjectReference `json:"objectRef,omitempty"`
	ResponseStatus *metav1.Status   `json:"responseStatus,omitempty"`
	// RequestObject and ResponseObject are in JSON, whatever was sent.
	RequestObject            json.RawMessage   `json:"requestObject,omitempty"`
	ResponseObject           json.RawMessage   `json:"responseObject,omitempty"`
	RequestReceivedTimestamp metav1.MicroTime  `json:"requestReceivedTimestamp"`
	StageTimestamp           metav1.MicroTime  `json:"stageTimestamp"`
	Annotations              map[string]string `json:"annotations,omitempty"`
}

// ObjectReference names what a request is about.
type ObjectReference struct {
	Resource        string `json:"resource,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	APIGroup        string `json:"apiGroup,omitempty"`
	APIVersion      string `json:"apiVersion,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Subresource     string `json:"subresource,omitempty"`
}

// Annotate adds an annotation. One that is there stays.
func (e *Event) Annotate(key, value string) {
	if _, ok := e.Annotations[key]; ok {
		return
	}
	if e.Annotations == nil {
		e.Annotations = make(map[string]string)
	}
	e.Annotations[key] = value
}
