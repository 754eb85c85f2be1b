package codec

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// PageToken says where the next page of a list begins.
type PageToken struct {
	// Revision is that of the list, which all its pages share.
	Revision int64 `json:"rv"`
	// After is the last key of the page before, without the resource's prefix.
	After string `json:"after"`
}

// String encodes the token for a client.
func (t PageToken) String() string {
	b, err := json.Marshal(t)
	if err != nil { // an int64 and a string always marshal
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParsePageToken reads a token that a client gives back.
func ParsePageToken(s string) (PageToken, error) {
	var t PageToken
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil || t.Revision <= 0 || t.After == "" || strings.HasPrefix(t.After, "/") {
		return PageToken{}, apierrors.NewBadRequest("continue key is not valid")
	}
	return t, nil
}
