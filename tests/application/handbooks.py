"""A small corpus of business documents, and what people ask whose answer is in one known section of it.

Written for this test: policies of a bakery that delivers. Questions are worded as people ask, with few of the words of
the answer; each names the heading under which the answer stands.
"""

from __future__ import annotations

#: Title, and by heading what it says.
DOCUMENTS: dict[str, dict[str, str]] = {
    "Returns and refunds": {
        "Bread and rolls": "Bread can be brought back on the day of purchase if it was not cut. The customer chooses"
        " between another loaf and the money. Rolls are exchanged only when they were wrong in the order.",
        "Cakes made to order": "Cakes made to a customer's wish are not taken back. When the decoration has a mistake,"
        " the shop offers a discount of one third, or makes the cake anew within two days.",
        "How money is paid out": "Refunds go to the means of payment that was used. Card refunds take up to five"
        " banking days; cash is paid at the till against a signature. Above 50 euros the shift lead must sign too.",
        "Vouchers": "Vouchers are valid for three years from the end of the year of issue. They are never paid out in"
        " cash; what is left stays on the voucher.",
    },
    "Deliveries": {
        "Areas and fees": "We deliver within twelve kilometres. Within the ring road delivery is free from 30 euros, in"
        " the villages from 60 euros; below that a trip costs 4.50 euros.",
        "Time windows": "Vans leave at 5:30 and at 10:00. Hotels are served first, then cafés, then private homes. A"
        " customer picks a window of two hours; after the cut-off at 18:00 the order moves to the next day.",
        "Nobody at home": "When nobody opens, the driver calls once and leaves the bag at the agreed safe place. Goods"
        " that need cooling are taken back to the shop and kept until closing.",
        "Cold chain": "Cream cakes travel at four degrees at most. The driver notes the temperature of the box at the"
        " start and at every tenth stop; above seven degrees the goods are written off.",
        "Damaged parcels": "A crushed box is photographed at the door and replaced with the next van at no charge. The"
        " photo goes to the case in the complaints board.",
    },
    "Wholesale customers": {
        "Terms of payment": "Cafés and hotels pay within fourteen days by transfer. After the second reminder the"
        " account is blocked and goods are handed out against prepayment only.",
        "Discount ladder": "From 500 euros of monthly sales the rebate is three percent, from 1,500 five, from 4,000"
        " eight. It is computed at the end of the month and credited with the next invoice.",
        "Credit limits": "Every wholesale account has a ceiling for open invoices, 1,000 euros at the beginning. The"
        " owner raises it after six months without a reminder.",
        "Standing orders": "A standing order repeats on chosen weekdays until it is cancelled. Changes for tomorrow are"
        " accepted until noon. Public holidays are skipped unless the customer confirms them.",
        "Returnable crates": "Crates carry a deposit of 4 euros each. The driver counts what comes back and the balance"
        " of crates is on every invoice.",
    },
    "Inventory": {
        "Reorder points": "Flour is reordered when less than six days of use are left, butter at four, yeast at two."
        " The system proposes a purchase order, and the baker on early shift confirms it.",
        "Stocktake": "All raw materials are counted on the last Sunday of a month. Differences above two percent need a"
        " reason; above five percent a second person counts again.",
        "Best before": "What expires first is used first. Ten days before the date an item is marked yellow in the"
        " list, three days before red. Expired goods are written off under the code WASTE.",
        "Suppliers": "Mühle Sommer supplies flour on Mondays and Thursdays, Molkerei Alm butter and cream every day but"
        " Sunday. If a supplier is late twice in a month, the buyer asks for another offer.",
        "Batch numbers": "Every sack gets the lot number of the supplier on arrival. It is written into the dough"
        " protocol, so that a recall finds all loaves within an hour.",
    },
    "Allergens and labelling": {
        "The fourteen allergens": "Labels name gluten, eggs, milk, nuts, sesame, soy and the others of the regulation"
        " in bold. A recipe without a complete list can't be published.",
        "Traces": "Nuts are used in the same room, so every label says that traces are possible. Only products from"
        " the separate kitchen may be called nut-free.",
        "Changing a recipe": "A new ingredient needs approval of the quality manager before the first batch. Old labels"
        " are destroyed on the same day.",
        "Nutrition table": "Packaged goods show energy, fat, sugar and salt per 100 grams. Loose goods are exempt.",
    },
    "Staff": {
        "Shifts": "The early shift begins at 2:30, the shop shift at 6:00, the late shift at 12:00. Swaps are entered"
        " in the plan by both people and seen by the shift lead.",
        "Sick leave": "Whoever is ill calls before the shift begins. A doctor's note is needed from the third day.",
        "Holidays": "Leave is requested four weeks ahead. From 1 to 24 December nobody from production can be away.",
        "Tips": "Tips of the day are shared by hours worked and paid out on Friday.",
        "Training": "New people get hygiene instruction before their first day and again every year; the certificate"
        " is filed in their personnel folder.",
    },
    "Sales pipeline": {
        "Stages": "A lead becomes an opportunity when a tasting is booked. It is won with the first order, and lost"
        " when there was no answer for sixty days.",
        "Follow-up": "After a tasting the representative phones within two working days. The task is created by the"
        " system and turns red when it is late.",
        "Who owns a lead": "Hotels belong to Petra, cafés to Jonas, events to the office. A prospect that nobody"
        " touched for thirty days goes back into the pool.",
        "Offers": "Offers are valid for thirty days and carry a number. A price below list needs the owner's consent.",
    },
    "Complaints": {
        "Recording": "Every complaint gets a case with customer, product, batch and photo. It is answered within one"
        " working day, even if only to say that we look into it.",
        "Foreign bodies": "Glass, metal or plastic in food is reported to the quality manager at once; the batch is"
        " stopped and the authority informed within 24 hours.",
        "Compensation": "Staff may give goods worth up to 15 euros without asking. More is decided by the shift lead.",
        "Reviews on the internet": "Bad ratings are answered publicly once, friendly and without details, and the guest"
        " is invited to write to us.",
    },
    "Privacy and IT": {
        "How long data is kept": "Orders are stored for ten years for the tax office, job applications for six months,"
        " camera recordings for three days.",
        "Requests from customers": "Whoever asks what we store gets a copy within a month. Deletion is done unless the"
        " law demands keeping.",
        "Passwords": "Accounts are personal. The till locks after three minutes; codes change when somebody leaves.",
        "Newsletter": "Mails go only to people who confirmed by a link. Every mail has a link to unsubscribe.",
    },
    "Till and closing": {
        "Opening float": "Each drawer starts with 200 euros in small change, counted by two people.",
        "Evening count": "At closing the drawer is counted blind; the report shows the difference afterwards. Beyond 10"
        " euros it is noted with a name.",
        "Tax rates": "Food to take away has the reduced rate, eating in the full one. Coffee always has the full rate.",
        "When the card terminal fails": "Customers are asked for cash first. Regulars may pay later; their name goes on"
        " the yellow list.",
    },
}  # fmt: skip

#: Question, title, heading.
QUESTIONS: tuple[tuple[str, str, str], ...] = (
    ("can someone bring a loaf back", "Returns and refunds", "Bread and rolls"),
    ("wrong decoration on a birthday cake, what do we offer", "Returns and refunds", "Cakes made to order"),
    ("how long until the refund is on the card", "Returns and refunds", "How money is paid out"),
    ("do gift vouchers expire", "Returns and refunds", "Vouchers"),
    ("free delivery from which amount", "Deliveries", "Areas and fees"),
    ("until when can I order for tomorrow's van", "Deliveries", "Time windows"),
    ("driver rings and nobody opens the door", "Deliveries", "Nobody at home"),
    ("which temperature must cream cakes have in the van", "Deliveries", "Cold chain"),
    ("box arrived crushed", "Deliveries", "Damaged parcels"),
    ("within how many days do hotels have to pay invoices", "Wholesale customers", "Terms of payment"),
    ("add a rebate field by monthly sales", "Wholesale customers", "Discount ladder"),
    ("limit for open invoices of new wholesale accounts", "Wholesale customers", "Credit limits"),
    ("repeat an order every weekday except public holidays", "Wholesale customers", "Standing orders"),
    ("deposit for crates on the invoice", "Wholesale customers", "Returnable crates"),
    ("create a purchase order when flour runs low", "Inventory", "Reorder points"),
    ("when do we count raw materials", "Inventory", "Stocktake"),
    ("mark items in the list before they expire", "Inventory", "Best before"),
    ("who supplies butter and on which days", "Inventory", "Suppliers"),
    ("find all loaves of a recalled sack", "Inventory", "Batch numbers"),
    ("which allergens must be in bold", "Allergens and labelling", "The fourteen allergens"),
    ("can we say nut-free on the label", "Allergens and labelling", "Traces"),
    ("who approves a new ingredient", "Allergens and labelling", "Changing a recipe"),
    ("show sugar and salt per 100 grams", "Allergens and labelling", "Nutrition table"),
    ("when does the early shift begin", "Staff", "Shifts"),
    ("doctor's note from which day", "Staff", "Sick leave"),
    ("request leave in December", "Staff", "Holidays"),
    ("how are tips shared", "Staff", "Tips"),
    ("hygiene instruction for new people every year", "Staff", "Training"),
    ("move a lead to lost after sixty days without an answer", "Sales pipeline", "Stages"),
    ("remind the representative to phone after a tasting", "Sales pipeline", "Follow-up"),
    ("assign hotels to Petra and cafés to Jonas", "Sales pipeline", "Who owns a lead"),
    ("how long is an offer valid", "Sales pipeline", "Offers"),
    ("complaint form with photo and batch", "Complaints", "Recording"),
    ("customer found glass in bread", "Complaints", "Foreign bodies"),
    ("how much may staff give away without asking", "Complaints", "Compensation"),
    ("answer a bad rating on the internet", "Complaints", "Reviews on the internet"),
    ("how long do we store job applications", "Privacy and IT", "How long data is kept"),
    ("customer wants a copy of what we store about her", "Privacy and IT", "Requests from customers"),
    ("till locks itself after minutes", "Privacy and IT", "Passwords"),
    ("unsubscribe link in every mail", "Privacy and IT", "Newsletter"),
    ("how much change is in the drawer in the morning", "Till and closing", "Opening float"),
    ("difference in the evening count of the drawer", "Till and closing", "Evening count"),
    ("tax for coffee", "Till and closing", "Tax rates"),
    ("card terminal does not work", "Till and closing", "When the card terminal fails"),
)


def markdown(title: str) -> str:
    """A document as somebody would upload it; padded so that sections are passages of their own."""
    sections = [f"## {heading}\n\n{text}\n" for heading, text in DOCUMENTS[title].items()]
    return f"# {title}\n\n" + "\n".join(sections)
