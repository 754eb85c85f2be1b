package codec

import (
	"encoding/base64"
	"encoding/json"
	"path"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Inconsistent is the Revision of a token that goes on with the newest state:
// what an expired token can be exchanged for.
const Inconsistent = -1

// PageToken says where the next page of a list begins.
type PageToken struct {
	// Revision is that of the list, which all its pages share, or
	// Inconsistent.
	Revision int64 `json:"rv"`
	// After is the last key of the page before, without the resource's prefix.
	After string `json:"after"`
	// Rest is how many objects follow After in the listed Namespace, "" being
	// all of them; 0 if that is not known.
	Rest      int64  `json:"rest,omitempty"`
	Namespace string `json:"ns,omitempty"`
}

// String encodes the token for a client.
func (t PageToken) String() string {
	b, err := json.Marshal(t)
	if err != nil { // numbers and strings always marshal
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
	switch {
	case err != nil:
		return PageToken{}, invalidToken(err.Error())
	case t.Revision <= 0 && t.Revision != Inconsistent:
		return PageToken{}, invalidToken("incorrect encoded start resourceVersion")
	case t.After == "":
		return PageToken{}, invalidToken("encoded start key empty")
	case path.Clean("/"+t.After) != "/"+t.After:
		return PageToken{}, invalidToken(t.After)
	}
	return t, nil
}

func invalidToken(why string) error {
	return apierrors.NewBadRequest("invalid continue token: continue key is not valid: " + why)
}
