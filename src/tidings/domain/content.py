"""What a provider is asked to say, typed by channel. An SMS is its encoded parts instead: see `attempt.Submission`."""

from tidings.domain.email import EmailContent
from tidings.domain.other import OtherContent
from tidings.domain.push import PushContent
from tidings.domain.whatsapp_content import WhatsAppContent

Content = EmailContent | OtherContent | PushContent | WhatsAppContent
