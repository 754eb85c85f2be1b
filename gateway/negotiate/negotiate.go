// Package negotiate chooses the form of a response from a request's Accept
// header: the encoding (JSON, YAML, Kubernetes Protobuf) and the
// transformation that the Kubernetes API conventions let a client ask for with
// the parameters as, g and v (Table, PartialObjectMetadata, …).
package negotiate

import (
	"cmp"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// The media types of the Kubernetes API.
const (
	JSON     = "application/json"
	YAML     = "application/yaml"
	Protobuf = "application/vnd.kubernetes.protobuf"
)

// maxClauses bounds the work done for one header.
const maxClauses = 64

// Format is one form of a response.
type Format struct {
	// Media is JSON, YAML or Protobuf, or what else an endpoint offers.
	Media string
	// As, Group and Version name a transformation, for example "Table",
	// "meta.k8s.io" and "v1". Empty: the object itself.
	As, Group, Version string
}

// ContentType returns the value of the response's Content-Type header.
func (f Format) ContentType() string { return f.Media }

// IsTable says whether the client asked for a Table.
func (f Format) IsTable() bool { return f.As == "Table" }

// IsMetadata says whether the client asked for objects' metadata only.
func (f Format) IsMetadata() bool {
	return f.As == "PartialObjectMetadata" || f.As == "PartialObjectMetadataList"
}

// Offer says whether an endpoint can answer in a format.
type Offer func(Format) bool

// Objects is the offer of every resource endpoint.
func Objects(f Format) bool {
	switch {
	case f.Media != JSON && f.Media != YAML && f.Media != Protobuf:
		return false
	case f.As == "":
		return f.Group == "" && f.Version == ""
	case f.Group != "meta.k8s.io" || f.Version != "v1" && f.Version != "v1beta1":
		return false
	case f.IsTable():
		return f.Media != Protobuf
	}
	return f.IsMetadata()
}

// Plain is the offer of endpoints that know no transformations.
func Plain(f Format) bool { return f.As == "" && Objects(f) }

// Select returns the format that the header's clauses prefer among the offered
// ones. A missing header means JSON. It returns false if nothing is acceptable.
func Select(h http.Header, offer Offer) (Format, bool) {
	values := h.Values("Accept")
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return Format{Media: JSON}, offer(Format{Media: JSON})
	}
	for _, c := range parse(values) {
		for _, media := range c.medias() {
			f := Format{Media: media, As: c.params["as"], Group: c.params["g"], Version: c.params["v"]}
			if offer(f) {
				return f, true
			}
		}
	}
	return Format{}, false
}

// Names says whether a header Accept names one of some media types, with whatever
// parameters, or takes any.
func Names(accept string, medias ...string) bool {
	if accept == "" {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		media, _, _ := strings.Cut(part, ";")
		if media = strings.TrimSpace(media); media == "*/*" || slices.Contains(medias, media) {
			return true
		}
	}
	return false
}

// clause is one alternative of an Accept header.
type clause struct {
	media   string
	params  map[string]string
	quality float64
}

// medias returns the media types that the clause stands for.
func (c clause) medias() []string {
	switch c.media {
	case "*/*", "application/*":
		return []string{JSON}
	}
	return []string{c.media}
}

// specificity orders clauses of the same quality: a media range after a type.
func (c clause) specificity() int {
	switch {
	case c.media == "*/*":
		return 2
	case strings.HasSuffix(c.media, "/*"):
		return 1
	}
	return 0
}

// parse returns the clauses that can be understood and are not refused by
// q=0, the preferred first.
func parse(values []string) []clause {
	var clauses []clause
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if len(clauses) == maxClauses {
			break
		}
		// OpenAPI's media types have an @, which RFC 9110 does not allow there.
		media, params, err := mime.ParseMediaType(strings.ReplaceAll(part, "@", "."))
		if err != nil {
			continue
		}
		c := clause{media: media, params: params, quality: quality(params["q"])}
		if c.quality > 0 {
			clauses = append(clauses, c)
		}
	}
	slices.SortStableFunc(clauses, func(a, b clause) int {
		return cmp.Or(cmp.Compare(b.quality, a.quality), cmp.Compare(a.specificity(), b.specificity()))
	})
	return clauses
}

// quality reads a q parameter; what cannot be read counts as 1.
func quality(q string) float64 {
	if q == "" {
		return 1
	}
	v, err := strconv.ParseFloat(q, 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 1
	}
	return v
}
